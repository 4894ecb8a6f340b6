"""Spans of a prediction and of a training on the real MLflow, which receives them itself."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from ml_code import telemetry
from ml_code.data import snapshots
from ml_code.gate import judging
from ml_code.settings import TraceReceiver
from ml_code.telemetry import Tracing
from ml_code.traces import join
from ml_code.training import run
from ml_code.workspace import Workspace
from tests.integration.serving.replica import run_replica, store_models
from tests.servers import MlflowServer
from tests.waiting import wait_until

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def experiment(mlflow_server: MlflowServer) -> str:
    """The experiment that the start of MLflow made for spans."""
    path = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=traces"
    found = httpx.get(mlflow_server.url + path, auth=mlflow_server.auth("admin")).raise_for_status().json()
    return str(found["experiment"]["experiment_id"])


@pytest.fixture(scope="module")
def headers(mlflow_server: MlflowServer, experiment: str) -> dict[str, str]:
    login = base64.b64encode(":".join(mlflow_server.auth("tracer")).encode()).decode()
    return {"x-mlflow-experiment-id": experiment, "authorization": f"Basic {login}"}


@pytest.fixture
def in_run(mlflow_server: MlflowServer, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The trace of a run of Airflow, for which this process works."""
    tracing = Tracing(TraceReceiver(f"{mlflow_server.url}/v1/traces", headers, 60))
    # A machine under load may take longer than a step waits.
    monkeypatch.setattr(telemetry, "FLUSH_SECONDS", 60)
    monkeypatch.setattr(telemetry, "_find_tracing", lambda: tracing)
    trace_id = secrets.token_hex(16)
    join(f"00-{trace_id}-{secrets.token_hex(8)}-00", {"airflow.dag_id": "simple_train"})
    yield trace_id
    join(None, {})
    tracing.close(60)


def read_spans(server: MlflowServer, trace_id: str) -> Mapping[str, Mapping[str, Any]]:
    """The spans of a trace by their names, as MLflow has them; none before the first one has come."""
    url = f"{server.url}/api/3.0/mlflow/traces/get"
    query = {"trace_id": f"tr-{trace_id}", "allow_partial": "true"}
    answer = httpx.get(url, params=query, auth=server.auth("admin"), timeout=60)
    spans = answer.json()["trace"].get("spans", []) if answer.status_code == 200 else []
    return {one["name"]: one for one in spans}


def test_a_prediction_and_the_steps_of_a_training_are_found_under_one_trace(
    mlflow_server: MlflowServer, headers: dict[str, str], workspace: Workspace, tmp_path: Path, in_run: str
) -> None:
    snapshot_uri = snapshots.prepare(workspace, "iris")
    run_id = run.train(workspace, "iris", snapshot_uri, "sklearn", "linear", experiment="traced")
    judging.evaluate(workspace, run_id)
    assert workspace.tracker.read_run(run_id).tags["trace_id"] == in_run

    settings = {
        "SERVING_CATALOG_DIR": str(store_models(tmp_path)),
        "OTEL_EXPORTER_OTLP_ENDPOINT": mlflow_server.url,
        "OTEL_EXPORTER_OTLP_HEADERS": ",".join(f"{name}={quote(value)}" for name, value in headers.items()),
    }
    with run_replica(tmp_path, NOWHERE, "nothing", **settings) as replica:
        sent = {"traceparent": f"00-{in_run}-{secrets.token_hex(8)}-01"}
        answer = httpx.post(f"{replica.url}/predict", json=[[5.1, 3.5, 1.4, 0.2]], headers=sent).raise_for_status()
        names = {"prepare", "train", "fit", "export", "evaluate", "predict", "inference"}
        wait_until(lambda: read_spans(mlflow_server, in_run).keys() >= names, 120, "MLflow has the spans")
    spans = read_spans(mlflow_server, in_run)
    assert read_attributes(spans["predict"])["mlops.request_id"] == answer.headers["x-request-id"]
    assert read_attributes(spans["train"])["airflow.dag_id"] == "simple_train"
    for name, parent in (("fit", "train"), ("export", "train"), ("inference", "predict")):
        assert spans[name]["parent_span_id"] == spans[parent]["span_id"]


def read_attributes(found: Mapping[str, Any]) -> dict[str, str]:
    """A span's attributes that are texts; MLflow adds some of its own."""
    values = {one["key"]: one["value"].get("string_value") for one in found["attributes"]}
    return {name: text.strip('"') for name, text in values.items() if text}


def test_the_user_of_spans_can_do_nothing_else(
    mlflow_server: MlflowServer, headers: dict[str, str], experiment: str
) -> None:
    login, body = mlflow_server.auth("tracer"), make_body()
    api = "/api/2.0/mlflow"
    for method, path, content in (
        ("GET", f"{api}/experiments/get?experiment_id={experiment}", None),
        ("GET", f"{api}/registered-models/search", None),
        ("GET", f"{api}/users/get?username=tracer", None),
        ("POST", f"{api}/runs/create", {"experiment_id": experiment}),
        ("POST", f"{api}/experiments/create", {"name": secrets.token_hex(8)}),
        ("POST", f"{api}/registered-models/create", {"name": secrets.token_hex(8)}),
        ("POST", "/api/3.0/mlflow/traces/search", {"locations": []}),
        ("DELETE", f"{api}/traces/delete-traces", {"experiment_id": experiment}),
        ("PATCH", f"{api}/users/update-password", {"username": "tracer", "password": "of-another-person"}),
    ):
        answer = httpx.request(method, mlflow_server.url + path, auth=login, json=content, timeout=60)
        assert (answer.status_code, answer.text) == (403, "the user tracer may only send spans"), path
    sent = {**headers, "content-type": "application/json"}
    taken = httpx.post(f"{mlflow_server.url}/v1/traces", content=body, headers=sent, timeout=60)
    assert taken.status_code == 200, taken.text
    elsewhere = sent | {"x-mlflow-experiment-id": "0"}
    assert httpx.post(f"{mlflow_server.url}/v1/traces", content=body, headers=elsewhere, timeout=60).status_code == 403


def test_a_replica_s_user_cannot_send_spans(mlflow_server: MlflowServer, experiment: str) -> None:
    headers = {"x-mlflow-experiment-id": experiment, "content-type": "application/json"}
    for login in (mlflow_server.auth("serving"), None):
        answer = httpx.post(
            f"{mlflow_server.url}/v1/traces", content=make_body(), headers=headers, auth=login, timeout=60
        )
        assert answer.status_code in {401, 403}


def make_body() -> bytes:
    """A request with one span."""
    sent: list[Any] = []
    tracing = Tracing(TraceReceiver(NOWHERE), send=lambda body: sent.append(body) or 200)
    tracing.start("one", None).end()
    tracing.close(60)
    [body] = sent
    return bytes(body)
