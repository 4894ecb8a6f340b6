"""The published API under generated requests, as a stranger meets it: through Nginx, with TLS and a token."""

from __future__ import annotations

import itertools
import secrets
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.integration.gateway.containers import REPOSITORY, Fleet, docker, wait_until
from tests.integration.serving.generated_requests import send_generated
from tests.integration.serving.replica import run_replica, store_models
from tests.processes import run_process
from tests.raw_requests import check_statuses, send_many

TOKEN = secrets.token_hex(16)
BEARER = f"Authorization: Bearer {TOKEN}"
ROWS = [[5.1, 3.5, 1.4, 0.2]]


@pytest.fixture(scope="module")
def replica_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A real replica on loopback, behind a socket that containers can open."""
    folder = tmp_path_factory.mktemp("replica")
    catalog = store_models(folder)
    more = {"SERVING_CATALOG_DIR": str(catalog), "SERVING_PREDICTION_LOG_DIR": str(folder / "prediction-log")}
    # The path of a socket has at most a hundred characters.
    with (
        tempfile.TemporaryDirectory() as short,
        run_replica(folder, "http://127.0.0.1:1", "nothing", **more) as replica,
    ):
        path, port = Path(short) / "replica", urlsplit(replica.url).port
        forwarder = [sys.executable, str(Path(__file__).with_name("forwarder.py")), str(path), str(port)]
        with run_process(forwarder, folder / "forwarder.log"):
            wait_until(path.exists, "the forwarder listens")
            yield path


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the certificate, and beside it the authority's."""
    folder = tmp_path_factory.mktemp("tls")
    (folder / "gateway").mkdir()
    for path in (folder, folder / "gateway"):
        path.chmod(0o755)
    script = [REPOSITORY / "docker/bin/tls.sh", folder / "gateway", folder / "authority"]
    subprocess.run(script, check=True, capture_output=True, timeout=60)
    return folder


@pytest.fixture(scope="module")
def port(replica_socket: Path, trust: Path) -> Iterator[int]:
    """The gateway's, as a stack off loopback has it."""
    fleet = Fleet()
    try:
        fleet.start_forwarder("serving", replica_socket)
        tokens = {"GATEWAY_TOKENS": f"fuzzer:{TOKEN}", "GATEWAY_ROLLOUT_TOKEN": secrets.token_hex(16)}
        fleet.start_gateway(trust / "gateway", TLS="on", CANARY_PERCENT="0", **tokens)
        yield int(docker("port", fleet.gateway, "8000").rpartition(":")[2])
    finally:
        fleet.close()


@pytest.fixture(scope="module")
def door(port: int, trust: Path) -> Iterator[httpx.Client]:
    context = ssl.create_default_context(cafile=trust / "authority" / "ca.crt")
    with httpx.Client(base_url=f"https://localhost:{port}", verify=context) as client:
        wait_until(lambda: client.get("/models").status_code == 200, "the replica answers")
        yield client


@pytest.mark.timeout(3000)
@pytest.mark.parametrize(("cases", "least"), [(60, 900), pytest.param(800, 10_000, marks=pytest.mark.long)])
def test_generated_requests_through_the_gateway_are_answered_as_the_api_says(
    door: httpx.Client, port: int, trust: Path, tmp_path: Path, *, cases: int, least: int
) -> None:
    options = ("--header", BEARER, "--tls-verify", str(trust / "authority" / "ca.crt"))
    sent, seeds = 0, itertools.count(1)
    while sent < least:
        sent += send_generated(f"https://localhost:{port}", tmp_path, cases, *options, seed=next(seeds))
    answer = door.post("/predict", json=ROWS, headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.json()["predictions"] == [0]


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_random_bytes_reach_a_real_replica_and_nothing_fails(door: httpx.Client, port: int, trust: Path) -> None:
    context = ssl.create_default_context(cafile=trust / "authority" / "ca.crt")
    found = send_many(("127.0.0.1", port), range(10_000), context, headers=f"{BEARER}\r\n".encode())
    check_statuses(found)
    answer = door.post("/predict", json=ROWS, headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.json()["predictions"] == [0]
