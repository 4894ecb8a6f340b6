from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from mlops.airflow_api import AirflowApi, DagState, RunState
from mlops.errors import NoAnswerError, RunError

HEARTBEAT = {"status": "healthy", "latest_scheduler_heartbeat": "2026-11-28T10:00:00Z"}


class Server(ThreadingHTTPServer):
    """Airflow's API by path; a request without the token is refused."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: dict[str, Any] = {}
        self.queries: list[dict[str, list[str]]] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        where = urlsplit(self.path)
        if self.headers["Authorization"] != "Bearer token":
            self.send_response(401)
            self.end_headers()
            return
        self.server.queries.append(parse_qs(where.query))
        self._send(self.server.bodies[where.path.removeprefix("/api/v2")])

    def do_POST(self) -> None:
        self._send({"access_token": "token"})

    def _send(self, body: object) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever).start()
        yield server
        server.shutdown()


@pytest.fixture
def api(server: Server) -> Iterator[AirflowApi]:
    with closing(AirflowApi(f"http://127.0.0.1:{server.server_address[1]}", "admin", "secret")) as api:
        yield api


def test_a_dag_is_read_with_the_choices_of_its_form(server: Server, api: AirflowApi) -> None:
    params = {"model": {"value": "iris", "schema": {"enum": ["iris", "flats"]}}, "version": {"schema": {}}}
    server.bodies["/dags/a/details"] = {"is_paused": True, "params": params}
    assert api.read_dag("a") == DagState(True, {"model": ("iris", "flats"), "version": ()})
    server.bodies["/dags/a/details"] = {"is_paused": False, "params": None}
    assert api.read_dag("a") == DagState(False, {})


def test_a_process_without_a_heartbeat_is_not_healthy(server: Server, api: AirflowApi) -> None:
    server.bodies["/monitor/health"] = {
        "scheduler": HEARTBEAT,
        "triggerer": {"status": None},
        "dag_processor": {"status": "unhealthy"},
        "metadatabase": {"status": "healthy"},
    }
    assert api.read_health() == {"scheduler": "healthy", "triggerer": "unknown", "dag_processor": "unhealthy"}


def test_failed_and_unfinished_runs_are_asked_for(server: Server, api: AirflowApi) -> None:
    run = {"dag_id": "a", "dag_run_id": "one", "state": "failed", "run_after": "2026-11-28T10:00:00Z"}
    server.bodies["/dags/~/dagRuns"] = {"dag_runs": [run]}
    found = api.list_notable_runs(datetime(2026, 11, 27, tzinfo=UTC))
    assert found == [RunState("a", "one", "failed", "2026-11-28T10:00:00Z")]
    assert set(server.queries[0]["state"]) == {"queued", "running", "failed"}
    assert server.queries[0]["run_after_gte"] == ["2026-11-27T00:00:00+00:00"]


@pytest.mark.parametrize("body", [{"it": "works"}, [], None, {"is_paused": False, "params": {"model": None}}])
def test_another_program_at_the_port_is_an_error(server: Server, api: AirflowApi, body: object) -> None:
    server.bodies["/dags/a/details"] = body
    with pytest.raises(RunError, match="`mlops doctor` finds out"):
        api.read_dag("a")


def test_a_server_that_is_not_there_is_told_apart() -> None:
    with closing(AirflowApi("http://127.0.0.1:1", "admin", "secret")) as api, pytest.raises(NoAnswerError):
        api.read_health()
