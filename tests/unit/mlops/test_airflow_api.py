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
        self.lists: dict[str, tuple[str, list[Any]]] = {}
        """Entries by path; a page has at most a hundred, whatever is asked for."""
        self.queries: list[dict[str, list[str]]] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        where = urlsplit(self.path)
        if self.headers["Authorization"] != "Bearer token":
            self.send_response(401)
            self.end_headers()
            return
        query, path = parse_qs(where.query), where.path.removeprefix("/api/v2")
        self.server.queries.append(query)
        if path in self.server.lists:
            name, entries = self.server.lists[path]
            start = int(query["offset"][0])
            page = entries[start : start + min(100, int(query["limit"][0]))]
            self._send({name: page, "total_entries": len(entries)})
        elif path in self.server.bodies:
            self._send(self.server.bodies[path])
        else:
            self.send_response(404)
            self.end_headers()

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
    server.bodies["/dags/~/dagRuns"] = {"dag_runs": [run], "total_entries": 1}
    found = api.list_notable_runs(datetime(2026, 11, 27, tzinfo=UTC))
    assert found == [RunState("a", "one", "failed", "2026-11-28T10:00:00Z")]
    assert set(server.queries[0]["state"]) == {"queued", "running", "failed"}
    assert server.queries[0]["run_after_gte"] == ["2026-11-27T00:00:00+00:00"]


def test_no_page_is_taken_for_the_whole(server: Server, api: AirflowApi) -> None:
    server.lists["/dags"] = ("dags", [{"dag_id": f"dag-{number}"} for number in range(1234)])
    assert len(api.list_dags()) == 1234
    run = {"dag_id": "a", "state": "success", "run_after": "2026-11-28T10:00:00Z"}
    server.lists["/dags/a/dagRuns"] = ("dag_runs", [run | {"dag_run_id": str(number)} for number in range(10_000)])
    assert len(api.list_runs("a", datetime(2026, 11, 27, tzinfo=UTC))) == 10_000
    task = {"task_id": "t", "state": "success", "rendered_map_index": None, "duration": 1}
    server.lists["/dags/a/dagRuns/1/taskInstances"] = (
        "task_instances",
        [task | {"map_index": number} for number in range(250)],
    )
    assert [task.name for task in api.list_tasks("a", "1")] == [f"t[{number}]" for number in range(250)]


def test_a_run_is_asked_for_by_its_id_however_many_are_newer(server: Server, api: AirflowApi) -> None:
    server.bodies["/dags/a/dagRuns/manual__2026-11-28T10%3A00%3A00%2B00%3A00"] = {"state": "running"}
    assert api.read_run_state("a", "manual__2026-11-28T10:00:00+00:00") == "running"
    assert api.read_run_state("a", "gone") is None


@pytest.mark.parametrize("body", [{"it": "works"}, [], None, {"is_paused": False, "params": {"model": None}}])
def test_another_program_at_the_port_is_an_error(server: Server, api: AirflowApi, body: object) -> None:
    server.bodies["/dags/a/details"] = body
    with pytest.raises(RunError, match="`mlops doctor` finds out"):
        api.read_dag("a")


def test_a_server_that_is_not_there_is_told_apart() -> None:
    with closing(AirflowApi("http://127.0.0.1:1", "admin", "secret")) as api, pytest.raises(NoAnswerError):
        api.read_health()
