from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from mlops import loop
from mlops.airflow_api import AirflowApi, TaskState
from mlops.checks.smoke import Smoke, Step, Target, is_passed


class Gateway(ThreadingHTTPServer):
    """Answers like the gateway, with one version and one class."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.version = "1"
        self.predictions: list[Any] = [0]
        self.status_of_bad_rows = 422
        self.body = b""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Gateway

    def do_GET(self) -> None:
        """Answers as another program at Airflow's port."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.path.encode() if "html" in self.path else b'{"it": "works"}')

    def do_POST(self) -> None:
        rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200 if rows == loop.ROW else self.server.status_of_bad_rows)
        self.send_header("X-Model-Version", self.server.version)
        self.end_headers()
        self.wfile.write(self.server.body or json.dumps({"predictions": self.server.predictions}).encode())

    def log_message(self, *_: object) -> None:
        pass


class FakeAirflow:
    """Two DAGs whose runs end at once; a training that is promoted starts a rollout."""

    def __init__(self, *, verdict: str = "promoted", training: str = "success") -> None:
        self.dags = {loop.TRAIN, loop.SERVE}
        self.runs: dict[str, dict[str, str]] = {loop.TRAIN: {}, loop.SERVE: {"earlier": "failed"}}
        self.triggered: list[tuple[str, dict[str, object]]] = []
        self._verdict = verdict
        self._training = training

    def list_dags(self) -> set[str]:
        return self.dags

    def list_runs(self, dag_id: str, since: datetime) -> dict[str, str]:
        return self.runs[dag_id]

    def read_run_state(self, dag_id: str, run_id: str) -> str | None:
        return self.runs[dag_id].get(run_id)

    def trigger(self, dag_id: str, conf: dict[str, object]) -> str:
        self.triggered.append((dag_id, conf))
        self.runs[dag_id] |= {"by hand": self._training if dag_id == loop.TRAIN else "success"}
        if dag_id == loop.TRAIN and self._verdict == "promoted":
            self.runs[loop.SERVE] |= {"by asset": "success"}
        return "by hand"

    def list_tasks(self, dag_id: str, run_id: str) -> list[TaskState]:
        if dag_id == loop.SERVE:
            return []
        promoted = "success" if self._verdict == "promoted" else "skipped"
        return [
            TaskState("train_dataset.train[0]", "success" if self._training == "success" else "failed", None, 1.0),
            TaskState("train_dataset.gate[0]", "success", f"iris: {self._verdict}", 1.0),
            TaskState("train_dataset.promoted[0]", promoted, None, 1.0),
        ]


class FakeRegistryWriter:
    def __init__(self, champion: str | None, *, passed: bool = True) -> None:
        self.champion = champion
        self.passed = passed

    def read(self, model: str) -> dict[str, str]:
        return {"champion": self.champion} if self.champion else {}

    def read_tags(self, model: str, version: str) -> dict[str, str]:
        return {"gate": "passed" if self.passed else "pending"}


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop.time, "sleep", lambda seconds: None)


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway() as server:
        threading.Thread(target=server.serve_forever).start()
        yield server
        server.shutdown()


def run(gateway: Gateway, airflow: FakeAirflow, champion: str | None = "1", *, passed: bool = True) -> dict[str, Step]:
    target = Target(airflow, FakeRegistryWriter(champion, passed=passed), gateway.url)  # type: ignore[arg-type]
    told: list[Step] = []
    steps = Smoke(target).run(told.append)
    assert told == steps
    return {step.name: step for step in steps}


def test_a_loop_that_works_passes_every_step(gateway: Gateway) -> None:
    steps = run(gateway, FakeAirflow())
    assert list(steps) == ["reach", "train", "gate", "deploy", "predict", "check"]
    assert is_passed(list(steps.values())), steps
    assert steps["gate"].found == "iris: promoted"


def test_a_rejection_passes_and_the_champions_rollout_is_requested(gateway: Gateway) -> None:
    gateway.version, airflow = "7", FakeAirflow(verdict="rejected")
    steps = run(gateway, airflow, champion="7")
    assert is_passed(list(steps.values())), steps
    assert airflow.triggered[-1] == (loop.SERVE, {"model": "iris", "version": "7"})


def test_a_champion_that_a_person_promoted_past_the_gate_is_not_rolled_out(gateway: Gateway) -> None:
    airflow = FakeAirflow(verdict="rejected")
    steps = run(gateway, airflow, passed=False)
    assert is_passed(list(steps.values())), steps
    assert [dag_id for dag_id, _ in airflow.triggered] == [loop.TRAIN]


def test_a_training_that_fails_is_named_and_nothing_after_it_is_tried(gateway: Gateway) -> None:
    steps = run(gateway, FakeAirflow(training="failed"))
    assert steps["train"].is_ok is False
    assert "train_dataset.train[0]" in steps["train"].found
    assert {name for name, step in steps.items() if step.is_ok is None} == {"gate", "deploy", "predict", "check"}


def test_a_first_model_that_the_gate_rejects_is_a_failure(gateway: Gateway) -> None:
    assert run(gateway, FakeAirflow(verdict="rejected"), champion=None)["deploy"].is_ok is False


def test_missing_dags_are_found_first(gateway: Gateway) -> None:
    airflow = FakeAirflow()
    airflow.dags = {loop.TRAIN}
    assert "no model_serving_pipeline" in run(gateway, airflow)["reach"].found


def test_another_version_or_an_unknown_class_is_a_failure(gateway: Gateway) -> None:
    gateway.version = "2"
    assert "expected version 1, the champion" in run(gateway, FakeAirflow())["check"].found
    gateway.predictions = ["cat"]
    assert run(gateway, FakeAirflow())["predict"].is_ok is False


def test_a_prediction_for_words_is_a_failure(gateway: Gateway) -> None:
    gateway.status_of_bad_rows = 200
    assert "expected status 400 or 422" in run(gateway, FakeAirflow())["check"].found


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"it": "works"}'])
def test_another_program_at_the_gateways_port_is_a_failure(gateway: Gateway, body: bytes) -> None:
    gateway.body = body
    assert "/predict: expected predictions, found" in run(gateway, FakeAirflow())["predict"].found


@pytest.mark.parametrize("path", ["", "/html"])
def test_another_program_at_airflows_port_is_a_failure(gateway: Gateway, path: str) -> None:
    with closing(AirflowApi(gateway.url + path, "admin", "secret")) as api:
        reach, *_ = Smoke(Target(api, FakeRegistryWriter("1"), gateway.url)).run(lambda step: None)
    assert reach.is_ok is False
    assert "expected Airflow to answer GET /dags, found another response" in reach.found


def test_a_gateway_that_does_not_answer_is_reported(gateway: Gateway) -> None:
    target = Target(FakeAirflow(), FakeRegistryWriter("1"), "http://127.0.0.1:1")  # type: ignore[arg-type]
    reach, *others = Smoke(target).run(lambda step: None)
    assert reach.is_ok is False
    assert {step.is_ok for step in others} == {None}
