"""Every training and batch DAG once in the real stack; what each does in detail is tested by tests/integration/dags."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import boto3
import pytest

from tests.e2e.stack import Airflow, Stack
from tests.waiting import wait_until

TRAIN = "mlops_training_pipeline"
FLOWER = [5.1, 3.5, 1.4, 0.2]
FOLLOW_SECONDS = 240


@pytest.fixture(scope="module")
def store(stack: Stack) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{stack.port('MINIO_PORT')}",
        aws_access_key_id=stack.environment["MINIO_ROOT_USER"],
        aws_secret_access_key=stack.environment["MINIO_ROOT_PASSWORD"],
        region_name="us-east-1",
    )


@pytest.fixture(scope="module", autouse=True)
def _champion(stack: Stack, airflow: Airflow) -> None:
    if stack.read_version("iris", FLOWER) is None:
        airflow.run(TRAIN, dataset="iris", model_type="sklearn", estimator="linear")
        wait_until(lambda: stack.read_version("iris", FLOWER), FOLLOW_SECONDS, "a version of iris answers")


def read_answers(store: Any, model: str, run_id: str) -> tuple[dict[str, Any], list[dict[str, str]]]:
    folder = f"{model}/{''.join(c if c.isalnum() or c in '_.-' else '_' for c in run_id)}"
    manifest = json.loads(store.get_object(Bucket="predictions", Key=f"{folder}/manifest.json")["Body"].read())
    part = store.get_object(Bucket="predictions", Key=f"{folder}/part-00000.csv")["Body"].read().decode()
    return manifest, list(csv.DictReader(io.StringIO(part)))


def test_a_further_model_is_trained_rolled_out_and_answers_under_its_own_name(stack: Stack, airflow: Airflow) -> None:
    run_id = airflow.run("train_with_mlflow", model_type="sklearn", estimator="random_forest")
    states = airflow.task_states("train_with_mlflow", run_id)
    assert {state for state, _ in states.values()} == {"success"}
    assert states.keys() == {"run_training", "promote_model_to_production"}
    wait_until(lambda: stack.read_version("IrisModel", FLOWER) == "1", FOLLOW_SECONDS, "IrisModel answers")


def test_two_kinds_are_trained_and_the_better_one_meets_the_gate(airflow: Airflow) -> None:
    run_id = airflow.run("model_training_selection")
    states = airflow.task_states("model_training_selection", run_id)
    assert states.keys() == {"feature_engineering", "train_rf", "train_gb", "select_best_model"}
    assert states["select_best_model"][0] in {"success", "skipped"}


def test_the_nightly_version_waits_and_the_selection_keeps_or_lets_it_on(airflow: Airflow) -> None:
    airflow.run("simple_train")
    run_id = airflow.run("model_selection")
    states = airflow.task_states("model_selection", run_id)
    assert sorted(states[task][0] for task in ("update_model", "keep_model")) == ["skipped", "success"]


def test_a_batch_answers_five_rows_of_its_own_accord(airflow: Airflow, store: Any) -> None:
    run_id = airflow.run("batch_inference", model="iris")
    manifest, answers = read_answers(store, "iris", run_id)
    assert manifest["rows"] == len(answers) == 5
    assert {answer["version"] for answer in answers} == {manifest["version"]}


def test_a_batch_answers_a_file_as_predict_answers_its_rows(stack: Stack, airflow: Airflow, store: Any) -> None:
    rows = [[5.1, 3.5, 1.4, 0.2], [6.0, 2.9, 4.5, 1.5], [6.3, 3.3, 6.0, 2.5]]
    lines = ["sepal_length,sepal_width,petal_length,petal_width", *(",".join(map(str, row)) for row in rows)]
    store.put_object(Bucket="datasets", Key="batch/rows.csv", Body="\n".join(lines).encode())
    run_id = airflow.run("batch_inference", model="iris", input_uri="batch/rows.csv")
    _, answers = read_answers(store, "iris", run_id)
    assert [int(answer["prediction"]) for answer in answers] == stack.predict(rows).json()["predictions"]


def test_a_search_runs_its_trials_in_parallel_tasks(airflow: Airflow) -> None:
    run_id = airflow.run("tune_model", dataset="iris", estimator="linear", trials=4, workers=2)
    states = airflow.task_states("tune_model", run_id)
    assert [states[f"search[{worker}]"] for worker in (0, 1)] == [("success", "2 trials")] * 2
    assert states["train_best"][0] in {"success", "skipped"}


def test_a_rejected_training_may_search_and_is_gated_again(airflow: Airflow) -> None:
    run_id = airflow.run(TRAIN, dataset="iris", model_type="sklearn", estimator="linear", max_retrain=1)
    states = airflow.task_states(TRAIN, run_id)
    assert states["train_dataset.rejected[0]"][0] == "success"
    assert states["train_dataset.retrain_with_new_params[0]"][0] in {"success", "skipped"}
