"""Random bytes through the gateway, with TLS and a token: the gateway never fails of them."""

from __future__ import annotations

import secrets
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.integration.gateway.containers import REPOSITORY, Fleet, docker, wait_until
from tests.raw_requests import check_statuses, send_many

TOKEN = secrets.token_hex(16)
BEARER = f"Authorization: Bearer {TOKEN}\r\n"


@pytest.mark.parametrize("requests", [300, pytest.param(10_000, marks=pytest.mark.long)])
@pytest.mark.timeout(1500)
def test_random_bytes_are_no_failure_of_the_gateway(fleet: Fleet, tmp_path: Path, requests: int) -> None:
    folder, authority = tmp_path / "gateway", tmp_path / "authority"
    folder.mkdir()
    for path in (tmp_path, folder):
        path.chmod(0o755)
    subprocess.run([REPOSITORY / "docker/bin/tls.sh", folder, authority], check=True, capture_output=True, timeout=60)
    fleet.start_replica("serving", "one")
    fleet.start_gateway(
        folder,
        TLS="on",
        CANARY_PERCENT="0",
        GATEWAY_TOKENS=f"fuzzer:{TOKEN}",
        GATEWAY_ROLLOUT_TOKEN=secrets.token_hex(16),
    )
    port = int(docker("port", fleet.gateway, "8000").rpartition(":")[2])
    trust = ssl.create_default_context(cafile=authority / "ca.crt")
    with httpx.Client(base_url=f"https://localhost:{port}", verify=trust) as door:
        wait_until(lambda: door.get("/models").status_code == 200, "a replica answers")
        check_statuses(send_many(("127.0.0.1", port), range(requests), trust, headers=BEARER.encode()))
        answer = door.post("/predict", json=[[5.1, 3.5, 1.4, 0.2]], headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
