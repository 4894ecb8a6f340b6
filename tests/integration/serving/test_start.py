"""How a replica comes and goes."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil

from tests.integration.serving.replica import Replica, run_replica, start_replica, store_models, wait_until

NOWHERE = "http://127.0.0.1:1"


def test_a_replica_takes_no_connection_while_it_starts(tmp_path: Path) -> None:
    catalog = store_models(tmp_path)
    with start_replica(tmp_path, NOWHERE, "nothing", SERVING_CATALOG_DIR=str(catalog)) as replica:
        wait_until(lambda: connects(replica), lambda: replica.log.read_text(errors="replace"))
        assert "Service predictions initialized" in replica.log.read_text()
        assert replica.predict().status_code == 200


def test_with_json_every_line_of_a_replica_is_an_object_with_the_common_names(tmp_path: Path) -> None:
    catalog, trace_id = store_models(tmp_path), secrets.token_hex(16)
    headers = {"Content-Type": "application/json", "traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"}
    settings = {"SERVING_CATALOG_DIR": str(catalog), "SERVING_LOG_FORMAT": "json"}
    with run_replica(tmp_path, NOWHERE, "nothing", **settings) as replica:
        answer = httpx.post(f"{replica.url}/predict", content=b"[[5.1, 3.5, 1.4, 0.2]]", headers=headers)
        wait_until(lambda: trace_id in replica.log.read_text(), lambda: replica.log.read_text(errors="replace"))
    lines = [json.loads(line) for line in replica.log.read_text().splitlines()]
    assert all(line.keys() >= {"time", "level", "logger", "message"} for line in lines)
    [line] = [line for line in lines if line.get("trace_id") == trace_id]
    assert line["request_id"] == answer.headers["x-request-id"]
    assert (line["model"], line["version"], line["status"]) == ("iris", "1", 200)


def test_a_replica_that_is_told_to_stop_answers_what_it_has_begun(tmp_path: Path) -> None:
    catalog = store_models(tmp_path)
    answers: list[int] = []
    with run_replica(tmp_path, NOWHERE, "nothing", SERVING_CATALOG_DIR=str(catalog)) as replica:
        sender = threading.Thread(target=lambda: answers.append(send_slowly(replica)))
        sender.start()
        wait_until(lambda: has_connection(replica), lambda: replica.log.read_text(errors="replace"))
        time.sleep(0.5)  # it reads the head, while the body is on its way for two seconds
        os.kill(replica.process_id, signal.SIGTERM)
        wait_until(lambda: not connects(replica), lambda: replica.log.read_text(errors="replace"))
        sender.join()
    assert answers == [200]


def test_an_answer_leaves_in_one_piece_so_that_a_kill_never_leaves_half_of_one(lone_replica: Replica) -> None:
    parts, body = urlsplit(lone_replica.url), b"[[5.1, 3.5, 1.4, 0.2]]"
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as connection:
        for _ in range(100):
            connection.sendall(head % len(body) + body)
            assert connection.recv(65536).endswith(b'"}')


def test_an_answer_on_a_connection_that_is_to_be_closed_comes_whole(lone_replica: Replica) -> None:
    for path in ("/predict", "/v2/models/iris/infer", "/models", "/docs/assets/swagger-ui.css", "/nothing"):
        answer = httpx.get(f"{lone_replica.url}{path}", headers={"connection": "close"})
        assert len(answer.content) == int(answer.headers["content-length"])


def connects(replica: Replica) -> bool:
    parts = urlsplit(replica.url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout=1).close()
    except OSError:
        return False
    return True


def has_connection(replica: Replica) -> bool:
    """Whether the replica has taken a connection; one that waits in the kernel belongs to no process."""
    connections = psutil.Process(replica.process_id).net_connections("tcp")
    port = urlsplit(replica.url).port
    return any(found.status == psutil.CONN_ESTABLISHED and found.laddr.port == port for found in connections)


def send_slowly(replica: Replica) -> int:
    """A request whose body takes two seconds to arrive."""

    def write() -> object:
        yield b"[[5.1, 3.5,"
        time.sleep(2)
        yield b" 1.4, 0.2]]"

    headers = {"content-type": "application/json"}
    return httpx.post(f"{replica.url}/predict", content=write(), headers=headers).status_code
