"""The published API under generated requests, and what a socket can send that a client library cannot.

`make test-long` generates six times as many requests.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.integration.serving.replica import Replica
from tests.raw_requests import check_statuses, send_many

CONFIGURATION = """
[checks]
# 413 too, which a body of more than 1 MB gets before anybody looks at its rows.
negative_data_rejection.expected-statuses = [400, 404, 405, 413, 415, 422]
positive_data_acceptance.expected-statuses = [200, 413]

# No schema says that a tensor holds as many values as its shape says.
[[operations]]
include-path-regex = "^/v2/models/.*/infer$"
checks.positive_data_acceptance.expected-statuses = [200, 400, 413]

# No schema says that an id holds the time of an answer, and that a label comes after it.
[[operations]]
include-path-regex = "^/feedback$"
checks.positive_data_acceptance.expected-statuses = [202, 413, 422]
"""


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("cases", [25, pytest.param(150, marks=pytest.mark.long)])
def test_generated_requests_are_answered_as_the_api_says(lone_replica: Replica, tmp_path: Path, cases: int) -> None:
    """`cases` per operation at most; the examples and the coverage of every keyword come on top."""
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    command: list[str] = [
        str(Path(sys.executable).parent / "st"),
        "run",
        f"{lone_replica.url}/openapi.json",
        "--no-color",
    ]
    command += ["--phases", "examples,coverage,fuzzing", "--checks", "all", "--max-examples", str(cases)]
    command += ["--seed", "1", "--report-dir", str(tmp_path), "--suppress-health-check", "all"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    summary = "\n".join(line[:400] for line in result.stdout.splitlines())[-6000:]
    assert result.returncode == 0, summary + result.stderr[-2000:]
    generated = re.search(r"(\d+) generated", result.stdout)
    assert generated
    print(f"{generated[1]} generated requests")
    assert int(generated[1]) >= cases


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
def test_raw_nonsense_gets_a_client_error(lone_replica: Replica, request_bytes: bytes, status: int) -> None:
    parts = urlsplit(lone_replica.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=15) as connection:
        connection.sendall(request_bytes)
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]


@pytest.mark.parametrize("requests", [300, pytest.param(10_000, marks=pytest.mark.long)])
@pytest.mark.timeout(1500)
def test_random_bytes_are_no_failure_of_the_server(lone_replica: Replica, requests: int) -> None:
    parts = urlsplit(lone_replica.url)
    check_statuses(send_many((parts.hostname or "", parts.port or 0), range(requests)))
    assert lone_replica.predict().json()["predictions"] == [0]


def test_ten_megabytes_are_refused_and_the_replica_lives(lone_replica: Replica) -> None:
    body = b"[" + b"[1,2,3,4]," * 1_000_000 + b"[1,2,3,4]]"
    answer = httpx.post(f"{lone_replica.url}/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert lone_replica.predict().json()["predictions"] == [0]


def test_no_page_of_bentoml_that_calls_another_host_is_shown(lone_replica: Replica) -> None:
    for path in ("/", "/docs.json", "/schema.json", "/static_content/index.css"):
        assert httpx.get(lone_replica.url + path).status_code == 404
