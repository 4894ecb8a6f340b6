"""Replicas that follow a real MLflow with basic auth, whose user may only read."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import mlflow
import mlflow.onnx
import onnx
import pytest
from mlflow import MlflowClient

from tests.benchmarks.load import run_load
from tests.integration.serving.replica import Replica, run_replica, wait_until
from tests.servers import MlflowServer
from tests.unit.serving.onnx_files import make_classifier

pytestmark = pytest.mark.filterwarnings("ignore")
"""MLflow's client warns about its own insides."""

BODY = b"[[5.1, 3.5, 1.4, 0.2]]"


OPTIONS: dict[str, Any] = {"rate_per_second": 100, "seconds": 600, "connections": 4}


class Load:
    """How far a load is, which ends when a test says so: a slow machine takes longer to change a version."""

    def __init__(self) -> None:
        self._end = threading.Event()
        self._begun = 0

    def is_over(self) -> bool:
        """Each connection asks this before each of its requests."""
        self._begun += 1
        return self._end.is_set()

    def close(self) -> None:
        """Ends it."""
        self._end.set()

    def wait_for_requests(self, count: int = 50) -> None:
        """Waits for so many more requests."""
        enough = self._begun + count
        wait_until(lambda: self._begun >= enough, lambda: self._begun)


class Registrar:
    """Registers model files as training does, and moves aliases as a rollout does."""

    def __init__(self, server: MlflowServer) -> None:
        self.client = MlflowClient(server.url)

    def register(self, content: bytes, *, digest: str | None = None) -> str:
        """Makes a version of iris with these bytes."""
        with mlflow.start_run():
            mlflow.onnx.log_model(
                onnx.load_from_string(content),
                name="model",
                registered_model_name="iris",
                pip_requirements=["onnxruntime"],
                save_as_external_data=False,
            )
        version = str(max(int(found.version) for found in self.client.search_model_versions("name='iris'")))
        self.client.set_model_version_tag("iris", version, "sha256", digest or hashlib.sha256(content).hexdigest())
        return version

    def promote(self, version: str) -> None:
        """Makes a version the champion."""
        self.client.set_registered_model_alias("iris", "champion", version)


@pytest.fixture(scope="module")
def registrar(mlflow_server: MlflowServer) -> Iterator[Registrar]:
    with pytest.MonkeyPatch.context() as patch:
        username, password = mlflow_server.auth("admin")
        patch.setenv("MLFLOW_TRACKING_USERNAME", username)
        patch.setenv("MLFLOW_TRACKING_PASSWORD", password)
        before = mlflow.get_tracking_uri()
        mlflow.set_tracking_uri(mlflow_server.url)
        yield Registrar(mlflow_server)
        mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def answers(registrar: Registrar) -> dict[str, str]:
    """Two versions, each of which always answers with its class."""
    return {
        "0": registrar.register(make_classifier(answer=0)),
        "1": registrar.register(make_classifier(answer=1)),
    }


def wait_for(replica: Replica, version: str) -> None:
    wait_until(lambda: replica.versions().get("iris") == version, replica.readiness)


def test_a_champion_serves_and_its_successor_replaces_it_without_a_failed_request(
    registrar: Registrar, answers: dict[str, str], mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    registrar.promote(answers["0"])
    with (
        run_replica(tmp_path, mlflow_server.url, mlflow_server.passwords["serving"]) as replica,
        ThreadPoolExecutor() as pool,
        closing(Load()) as load,
    ):
        wait_for(replica, answers["0"])
        assert replica.predict().json()["predictions"] == [0]
        loading = pool.submit(run_load, f"{replica.url}/predict", BODY, **OPTIONS, is_over=load.is_over)
        load.wait_for_requests()
        registrar.promote(answers["1"])
        wait_for(replica, answers["1"])
        load.wait_for_requests()
        load.close()
        report = loading.result()
        assert report.failures == {}
        assert set(report.versions) == {answers["0"], answers["1"]}
        assert replica.predict().json()["predictions"] == [1]


def test_a_restart_without_mlflow_serves_the_last_good_version(
    registrar: Registrar, answers: dict[str, str], mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    registrar.promote(answers["0"])
    with run_replica(tmp_path, mlflow_server.url, mlflow_server.passwords["serving"]) as replica:
        wait_for(replica, answers["0"])
    with run_replica(tmp_path, "http://127.0.0.1:1", "nothing") as restarted:
        assert restarted.predict().json()["predictions"] == [0]
        assert httpx.get(f"{restarted.url}/readyz").status_code == 200
        wait_until(lambda: "ConnectError" in str(restarted.readiness()["registry"]), restarted.readiness)


@pytest.mark.parametrize(
    ("content", "digest", "reason"),
    [
        (make_classifier(answer=2), "0" * 64, "truncated or altered"),
        (make_classifier(golden_predictions=[2, 2, 2]), None, "golden row"),
    ],
    ids=["altered", "other golden answers"],
)
def test_a_bad_version_is_refused_with_its_reason_and_the_old_one_serves(  # noqa: PLR0917  fixtures and a table
    registrar: Registrar,
    answers: dict[str, str],
    mlflow_server: MlflowServer,
    tmp_path: Path,
    content: bytes,
    digest: str | None,
    reason: str,
) -> None:
    registrar.promote(answers["0"])
    with run_replica(tmp_path, mlflow_server.url, mlflow_server.passwords["serving"]) as replica:
        wait_for(replica, answers["0"])
        registrar.promote(registrar.register(content, digest=digest))
        wait_until(lambda: bool(replica.readiness()["problems"]), replica.readiness)
        assert reason in replica.readiness()["problems"][0]["reason"]
        assert reason in replica.log.read_text()
        assert replica.predict().json()["model"]["version"] == answers["0"]


def test_a_canary_replica_answers_with_the_challenger_only_for_its_own_pool(
    registrar: Registrar, answers: dict[str, str], mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    registrar.promote(answers["0"])
    registrar.client.set_registered_model_alias("iris", "challenger", answers["1"])
    until = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    registrar.client.set_registered_model_tag("iris", "canary_until", until)
    password = mlflow_server.passwords["serving"]
    with run_replica(tmp_path, mlflow_server.url, password, SERVING_POOL="canary") as replica:
        wait_until(lambda: len(replica.readiness()["models"]) == 2, replica.readiness)
        assert replica.predict().json()["predictions"] == [0]
        assert replica.predict(**{"X-Pool": "canary"}).json()["predictions"] == [1]
        registrar.client.delete_registered_model_tag("iris", "canary_until")
        wait_until(lambda: len(replica.readiness()["models"]) == 1, replica.readiness)
        assert replica.predict(**{"X-Pool": "canary"}).json()["predictions"] == [0]
    registrar.client.delete_registered_model_alias("iris", "challenger")


def test_a_wrong_password_is_said_in_readiness(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    with run_replica(tmp_path, mlflow_server.url, "wrong") as replica:
        wait_until(lambda: "status 401" in str(replica.readiness()["registry"]), replica.readiness)
        assert replica.predict().status_code == 503
        assert httpx.get(f"{replica.url}/readyz").status_code == 503
