"""TLS: the certificate and its change, the programs behind it, and whom the gateway believes to be the client."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.integration.gateway.containers import REPOSITORY, Fleet, docker, wait_until

ROWS = [[5.1, 3.5, 1.4, 0.2]]
RELOADS = 10


def make_certificate(folder: Path) -> None:
    """Makes a new certificate beside the old one's authority, as `make tls` does."""
    (folder / "gateway" / "tls.crt").unlink(missing_ok=True)
    script = [REPOSITORY / "docker/bin/tls.sh", folder / "gateway", folder / "authority"]
    subprocess.run(script, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    (folder / "gateway").mkdir()
    (folder / "gateway").chmod(0o755)
    make_certificate(folder)
    return folder


@pytest.fixture(scope="module")
def trust(folder: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=folder / "authority" / "ca.crt")


@pytest.fixture(scope="module")
def safe(folder: Path) -> Iterator[Fleet]:
    """A replica and three programs behind a gateway with TLS."""
    fleet = Fleet()
    try:
        fleet.start_replica("serving", "one")
        for service, port in (("airflow-apiserver", 8080), ("mlflow", 5000), ("minio", 9001)):
            fleet.start_replica(service, service, port=port)
        fleet.start_gateway(folder / "gateway", TLS="on", CANARY_PERCENT="0")
        yield fleet
    finally:
        fleet.close()


@pytest.fixture(scope="module")
def port(safe: Fleet) -> int:
    return int(docker("port", safe.gateway, "8000").rpartition(":")[2])


@pytest.fixture(scope="module")
def door(port: int, trust: ssl.SSLContext) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"https://localhost:{port}", verify=trust) as client:
        wait_until(lambda: client.get("/models").status_code == 200, "a replica answers")
        yield client


def test_predictions_are_answered_under_a_certificate_of_the_authority(door: httpx.Client) -> None:
    assert door.post("/predict", json=ROWS).json()["headers"]["x-forwarded-proto"] == "https"


def test_a_request_in_clear_is_sent_to_https(door: httpx.Client, port: int) -> None:
    answer = httpx.post(f"http://localhost:{port}/predict?probabilities=true", json=ROWS)
    assert (answer.status_code, answer.headers["Location"]) == (
        308,
        "https://localhost:8000/predict?probabilities=true",
    )


def test_old_versions_of_tls_are_refused(port: int, door: httpx.Client) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError), socket.create_connection(("localhost", port)) as connection:
        context.wrap_socket(connection)


@pytest.mark.parametrize(("name", "host"), [("airflow", ""), ("mlflow", "mlflow:5000"), ("minio", "")])
def test_each_program_has_a_name_of_its_own_at_the_same_port(
    door: httpx.Client, port: int, name: str, host: str
) -> None:
    own = f"{name}.localhost:{port}"
    sent = {"Host": own, "Cookie": "session=mine", "Authorization": "Basic eA=="}
    answer = door.get("/x/y?z=%2F", headers=sent)
    assert answer.json()["path"] == "/x/y?z=%2F"
    assert "secure" in answer.headers["Set-Cookie"].lower()
    headers = answer.json()["headers"]
    assert headers["host"] == (host or own)
    assert (headers["cookie"], headers["authorization"]) == ("session=mine", "Basic eA==")
    assert (headers["x-forwarded-proto"], headers["x-forwarded-host"]) == ("https", own)


@pytest.mark.parametrize(
    ("name", "paths"),
    [("airflow", ["/auth/token", "/auth//token/cli", "/auth/%74oken"]), ("minio", ["/api/v1/login"])],
)
def test_who_guesses_passwords_is_slowed_down(door: httpx.Client, port: int, name: str, paths: list[str]) -> None:
    own = {"Host": f"{name}.localhost:{port}"}
    started = time.monotonic()
    tries = [door.post(path, headers=own, json={"username": "admin"}) for path in paths * 20]
    # Fifteen at once, and one more every four seconds.
    taken = [answer for answer in tries if answer.status_code != 429]
    assert len(taken) <= 18 + (time.monotonic() - started) / 4
    [refused, *_] = [answer for answer in tries if answer.status_code == 429]
    assert "try again in a minute" in refused.text
    assert {door.post("/api/v2/dags/x/dagRuns", headers=own).status_code for _ in range(20)} == {200}


def test_another_name_is_the_gateways(door: httpx.Client) -> None:
    assert door.get("/", headers={"Host": "postgres.localhost"}).headers["Content-Type"].startswith("text/html")


def test_the_start_page_learns_that_programs_are_behind_the_same_port(door: httpx.Client) -> None:
    assert door.get("/stack.json").json()["tls"] is True


def test_a_browser_remembers_https_except_on_this_machine(safe: Fleet, folder: Path, door: httpx.Client) -> None:
    assert "Strict-Transport-Security" not in door.get("/").headers
    url = safe.start_gateway(folder / "gateway", TLS="on", PUBLIC_HOST="ml.example")
    assert httpx.get(url, verify=False).headers["Strict-Transport-Security"] == "max-age=31536000"


def test_containers_of_the_stack_ask_in_clear_at_a_port_of_their_own(safe: Fleet, door: httpx.Client) -> None:
    assert docker("exec", safe.gateway, "curl", "-fsS", "http://127.0.0.1:8001/healthz") == '{"status":"ok"}'
    assert docker("port", safe.gateway).count("8001") == 0


def test_a_new_certificate_and_reloads_lose_no_request(folder: Path, trust: ssl.SSLContext) -> None:
    fleet = Fleet()
    try:
        fleet.start_replica("serving", "one")
        url = fleet.start_gateway(folder / "gateway", TLS="on", CANARY_PERCENT="0").replace("127.0.0.1", "localhost")
        with httpx.Client(base_url=url, verify=trust) as client:
            wait_until(lambda: client.post("/predict", json=ROWS).status_code == 200, "a replica answers")
        before, is_over = read_serial(url), threading.Event()
        with ThreadPoolExecutor(6) as pool:
            asked = [pool.submit(ask_until, is_over, url, trust) for _ in range(6)]
            try:
                for _ in range(RELOADS):
                    docker("exec", fleet.gateway, "nginx", "-s", "reload")
                    time.sleep(0.5)
                make_certificate(folder)
                wait_until(lambda: read_serial(url) != before, "the new certificate is shown")
            finally:
                is_over.set()
        statuses = sum((answer.result() for answer in asked), Counter[int]())
        assert set(statuses) == {200}, statuses
        assert statuses[200] > 100
    finally:
        fleet.close()


def ask_until(is_over: threading.Event, url: str, trust: ssl.SSLContext) -> Counter[int]:
    statuses = Counter[int]()
    with httpx.Client(base_url=url, verify=trust) as client:
        while not is_over.wait(0.02):
            try:
                statuses[client.post("/predict", json=ROWS).status_code] += 1
            except httpx.HTTPError:
                statuses[0] += 1
    return statuses


def read_serial(url: str) -> str:
    host, _, port = url.removeprefix("https://").partition(":")
    return ssl.get_server_certificate((host, int(port)))


def test_without_a_certificate_the_start_names_the_next_step(safe: Fleet) -> None:
    stopped = safe.try_gateway(TLS="on")
    assert stopped.returncode != 0
    assert "make tls" in stopped.stderr


def test_a_trusted_proxy_names_the_client_and_nobody_else(safe: Fleet) -> None:
    for proxies, client in (("172.16.0.0/12,10.0.0.0/8,192.168.0.0/16", "203.0.113.9"), ("203.0.113.7", None)):
        with httpx.Client(base_url=safe.start_gateway(TRUSTED_PROXIES=proxies, CANARY_PERCENT="0")) as door:
            wait_until(lambda door=door: door.get("/models").status_code == 200, "a replica answers")  # type: ignore[misc]
            sent = {"X-Forwarded-For": "198.51.100.1, 203.0.113.9"}
            seen = door.post("/predict", json=ROWS, headers=sent).json()["headers"]["x-forwarded-for"]
        assert (seen == client) if client else (seen not in sent["X-Forwarded-For"])


def test_the_certificate_is_renewed_and_its_key_is_private(tmp_path: Path) -> None:
    (tmp_path / "gateway").mkdir()
    make_certificate(tmp_path)
    files = [*(tmp_path / "gateway").iterdir(), tmp_path / "authority" / "ca.key"]
    assert {file.stat().st_mode & 0o077 for file in files} == {0}
    first, authority = (tmp_path / "gateway" / "tls.crt").read_text(), (tmp_path / "authority" / "ca.crt").read_text()
    script = [REPOSITORY / "docker/bin/tls.sh", tmp_path / "gateway", tmp_path / "authority"]
    subprocess.run(script, check=True, capture_output=True)
    assert (tmp_path / "gateway" / "tls.crt").read_text() == first
    make_certificate(tmp_path)
    assert (tmp_path / "gateway" / "tls.crt").read_text() != first
    assert (tmp_path / "authority" / "ca.crt").read_text() == authority
    shutil.rmtree(tmp_path)
