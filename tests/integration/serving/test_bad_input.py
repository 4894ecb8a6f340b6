"""The published API under generated requests, and what a socket can send that a client library cannot.

`SCHEMATHESIS_CASES=700 pytest -s tests/integration/serving/test_bad_input.py` runs the long form: 2,000 requests.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from serving.model_files import ModelFiles
from serving.served import Version
from tests.integration.serving.replica import Replica, run_replica
from tests.unit.serving.onnx_files import make_classifier, make_mixed_regressor

CONFIGURATION = """
[checks]
# 413 too, which a body of more than 1 MB gets before anybody looks at its rows.
negative_data_rejection.expected-statuses = [400, 404, 405, 413, 415, 422]
positive_data_acceptance.expected-statuses = [200, 413]
"""

CASES = int(os.environ.get("SCHEMATHESIS_CASES", "150"))
"""Most fuzzing cases per operation; the examples and the coverage of every keyword come on top."""


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """A replica that has no registry and serves what lies in its state directory."""
    folder = tmp_path_factory.mktemp("replica")
    files = ModelFiles(folder / "state", "other")
    catalog = folder / "catalog"
    catalog.mkdir()
    for name, content in (("iris", make_classifier()), ("ships", make_mixed_regressor())):
        (catalog / f"{name}.toml").touch()
        digest = hashlib.sha256(content).hexdigest()
        temporary = files.temporary_path()
        temporary.write_bytes(content)
        files.keep(temporary, digest)
        files.record(Version(name, "1", digest), "2026-11-20T00:00:00+00:00")
    with run_replica(folder, "http://127.0.0.1:1", "nothing", SERVING_CATALOG_DIR=str(catalog)) as replica:
        yield replica


@pytest.mark.timeout(1500)
def test_generated_requests_are_answered_as_the_api_says(replica: Replica, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    command: list[str] = [str(Path(sys.executable).parent / "st"), "run", f"{replica.url}/openapi.json", "--no-color"]
    command += ["--phases", "examples,coverage,fuzzing", "--checks", "all", "--max-examples", str(CASES)]
    command += ["--seed", "1", "--report-dir", str(tmp_path), "--suppress-health-check", "all"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    summary = "\n".join(line[:400] for line in result.stdout.splitlines())[-6000:]
    assert result.returncode == 0, summary + result.stderr[-2000:]
    generated = re.search(r"(\d+) generated", result.stdout)
    assert generated
    print(f"{generated[1]} generated requests")
    assert int(generated[1]) >= CASES


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data\r\nContent-Length: 3\r\n\r\n--x",
            415,
        ),
        (
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\nContent-Type: application/json\r\n\r\n",
            413,
        ),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\r\n", 400),
        (b"PROPFIND /predict HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: nine\r\n\r\n", 400),
        (b"GET /%ff%00 HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"nonsense\r\n\r\n", 400),
    ],
)
def test_raw_nonsense_gets_a_client_error(replica: Replica, request_bytes: bytes, status: int) -> None:
    parts = urlsplit(replica.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=15) as connection:
        connection.sendall(request_bytes)
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]


def test_ten_megabytes_are_refused_and_the_replica_lives(replica: Replica) -> None:
    body = b"[" + b"[1,2,3,4]," * 1_000_000 + b"[1,2,3,4]]"
    answer = httpx.post(f"{replica.url}/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert replica.predict().json()["predictions"] == [0]


def test_no_page_of_bentoml_that_calls_another_host_is_shown(replica: Replica) -> None:
    for path in ("/", "/docs.json", "/schema.json", "/static_content/index.css"):
        assert httpx.get(replica.url + path).status_code == 404
