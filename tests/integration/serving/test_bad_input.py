"""The published API under generated requests, and what a socket can send that a client library cannot.

The gateway's tests send more of both.
"""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.integration.serving.generated_requests import send_generated
from tests.integration.serving.replica import Replica
from tests.raw_requests import check_statuses, send_many


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("cases", [10, pytest.param(150, marks=pytest.mark.long)])
def test_generated_requests_are_answered_as_the_api_says(lone_replica: Replica, tmp_path: Path, cases: int) -> None:
    assert send_generated(lone_replica.url, tmp_path, cases) >= cases


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
