"""The DAGs around one model: trained beside others, selected, served, asked for a batch."""

from __future__ import annotations

import io
import json
from pathlib import Path

import httpx
import pandas as pd
import pytest

from ml_code.settings import Settings
from ml_code.storage import Storage
from ml_code.tracking import Tracker
from tests.integration.dags.run_dag import run_dag
from tests.integration.serving.replica import Replica, run_replica, wait_until
from tests.servers import MlflowServer

ROWS = pd.DataFrame(
    [[5.1, 3.5, 1.4, 0.2], [6.0, 2.9, 4.5, 1.5], [7.7, 3.0, 6.1, 2.3]],
    columns=["sepal_length", "sepal_width", "petal_length", "petal_width"],
)


@pytest.fixture(scope="module")
def tracker(stack_settings: Settings) -> Tracker:
    return Tracker(stack_settings)


def roll_out(environment: dict[str, str], replica: Replica, model: str) -> None:
    rolled_out = run_dag(environment, "model_serving_pipeline", model=model)
    assert rolled_out["state"] == "success", rolled_out["log"][-3000:]
    wait_until(lambda: model in replica.versions(), replica.versions)


def test_a_batch_without_a_champion_is_skipped_and_says_why(environment: dict[str, str]) -> None:
    ran = run_dag(environment, "batch_inference", model="iris")
    assert ran["tasks"]["plan[-1]"] == "skipped"
    assert "found no champion" in ran["log"]


def test_the_nightly_version_waits_until_the_selection_promotes_it(
    environment: dict[str, str], tracker: Tracker, replica: Replica
) -> None:
    trained = run_dag(environment, "simple_train")
    assert trained["state"] == "success", trained["log"][-3000:]
    [version] = tracker.list_versions("iris")
    assert version.tags["gate"] == "pending"
    assert tracker.read_aliases("iris") == {}
    trace_id = tracker.read_run(version.run_id).tags["trace_id"]
    assert f"trace_id={trace_id}" in trained["log"]

    selected = run_dag(environment, "model_selection")
    assert selected["tasks"] == {"compare[-1]": "success", "update_model[-1]": "success", "keep_model[-1]": "skipped"}
    assert tracker.read_version("iris", version.version).tags["gate"] == "passed"
    roll_out(environment, replica, "iris")
    assert tracker.read_aliases("iris")["champion"] == version.version

    again = run_dag(environment, "model_selection")
    assert again["tasks"] == {"compare[-1]": "success", "update_model[-1]": "skipped", "keep_model[-1]": "success"}
    assert "iris: no version is pending" in again["log"]


def test_a_version_that_is_no_better_keeps_the_champion(environment: dict[str, str], tracker: Tracker) -> None:
    run_dag(environment, "simple_train")
    kept = run_dag(environment, "model_selection")
    assert kept["tasks"]["keep_model[-1]"] == "success"
    assert "+0 against 1" in kept["log"]
    assert tracker.list_versions("iris")[0].tags["gate"] == "pending"


def test_the_better_of_two_kinds_meets_the_gate(environment: dict[str, str], tracker: Tracker) -> None:
    ran = run_dag(environment, "model_training_selection")
    assert {ran["tasks"][f"{task}[-1]"] for task in ("feature_engineering", "train_rf", "train_gb")} == {"success"}
    assert ran["tasks"]["select_best_model[-1]"] == "skipped"
    assert "iris: rejected" in ran["log"]
    assert len(tracker.list_versions("iris")) == 2


def test_a_batch_has_the_answers_that_predict_gives(
    environment: dict[str, str], stack_settings: Settings, replica: Replica
) -> None:
    storage = Storage(stack_settings)
    storage.write_bytes("s3://datasets/batch/rows.csv", ROWS.to_csv(index=False).encode())
    ran = run_dag(environment, "batch_inference", model="iris", input_uri="batch/rows.csv")
    assert ran["state"] == "success", ran["log"][-3000:]
    [manifest] = [
        json.loads(storage.read_bytes(found.uri))
        for found in storage.list_objects("s3://predictions/iris/")
        if found.uri.endswith("manifest.json")
    ]
    [part] = manifest["parts"]
    answers = pd.read_csv(io.BytesIO(storage.read_bytes(part["uri"])))
    online = httpx.post(f"{replica.url}/predict?probabilities=true", json=ROWS.to_numpy().tolist()).json()
    assert answers["prediction"].tolist() == online["predictions"]
    probabilities = answers[[f"probability_{label}" for label in (0, 1, 2)]].to_numpy()
    assert abs(probabilities - online["probabilities"]).max() < 1e-6
    assert str(answers["version"][0]) == online["model"]["version"]


def test_a_batch_of_its_own_accord_answers_five_rows(environment: dict[str, str], stack_settings: Settings) -> None:
    ran = run_dag(environment, "batch_inference", model="iris")
    assert ran["state"] == "success", ran["log"][-3000:]
    assert "5 rows in 1 parts" in ran["log"]


def answer_one_row(url: str) -> tuple[list[int], str]:
    body = httpx.post(url, json=[[5.1, 3.5, 1.4, 0.2]]).json()
    return body["predictions"], body["model"]["name"]


def test_a_further_model_is_trained_gated_and_served_under_its_own_name(
    environment: dict[str, str], tracker: Tracker, replica: Replica
) -> None:
    ran = run_dag(environment, "train_with_mlflow", hyperparameters={"n_estimators": 20})
    assert ran["tasks"] == {"run_training[-1]": "success", "promote_model_to_production[-1]": "success"}
    [version] = tracker.list_versions("IrisModel")
    assert tracker.read_run(version.run_id).tags["model"] == "IrisModel"
    roll_out(environment, replica, "IrisModel")
    assert answer_one_row(f"{replica.url}/models/IrisModel/predict") == ([0], "IrisModel")


def test_a_further_model_may_be_the_default(replica: Replica, mlflow_server: MlflowServer, tmp_path: Path) -> None:
    assert "IrisModel" in replica.versions()
    password = mlflow_server.passwords["serving"]
    with run_replica(tmp_path, mlflow_server.url, password, SERVING_DEFAULT_MODEL="IrisModel") as further:
        wait_until(lambda: "IrisModel" in further.versions(), further.readiness)
        assert answer_one_row(f"{further.url}/predict") == ([0], "IrisModel")
