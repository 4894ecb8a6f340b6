"""Every training and batch DAG in the real stack, two of them at night; tests/integration/dags has the details."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from tests.e2e.airflow import TRAIN, Airflow
from tests.e2e.stack import Stack
from tests.waiting import wait_until

FLOWER = [5.1, 3.5, 1.4, 0.2]
FLOWERS = [FLOWER, [6.0, 2.9, 4.5, 1.5], [6.3, 3.3, 6.0, 2.5]]
FOLLOW_SECONDS = 600
BATCH, NIGHTLY, KINDS, SELECT = "batch_inference", "simple_train", "model_training_selection", "model_selection"
VERDICTS = {"success": "iris: promoted", "skipped": "iris: rejected"}
"""What the gate's verdict says in the log of a task that registers a model, by the task's state."""


def check_gate(state: str, log: str) -> None:
    """Checks that a task registered its model exactly where the gate promoted it.

    Whether a searched model beats the champion is chance: its hyperparameters are drawn in each run.
    """
    [other] = VERDICTS.keys() - {state}
    assert VERDICTS[state] in log
    assert VERDICTS[other] not in log


@pytest.fixture(scope="module")
def store(stack: Stack) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{stack.port('MINIO_PORT')}",
        aws_access_key_id=stack.environment["S3_TASKS_USER"],
        aws_secret_access_key=stack.environment["S3_TASKS_PASSWORD"],
        region_name="us-east-1",
    )


@pytest.fixture(scope="module")
def runs(airflow: Airflow, trained: str) -> Iterator[dict[str, str]]:
    """All begun at once, by the clock or by hand: the id of each DAG's run."""
    by_hand: dict[str, dict[str, Any]] = {
        "train_with_mlflow": {"model_type": "sklearn", "estimator": "linear"},
        "tune_model": {"dataset": "iris", "estimator": "linear", "trials": 4, "workers": 2},
        TRAIN: {"dataset": "iris", "model_type": "sklearn", "estimator": "linear", "max_retrain": 1},
    }
    begun = {dag_id: airflow.trigger(dag_id, **conf) for dag_id, conf in by_hand.items()}
    yield {**begun, BATCH: airflow.start_by_clock(BATCH)}
    airflow.pause(BATCH)
    # A model that passed the gate starts a rollout, which must not meet those of the next module.
    airflow.wait_for_quiet()


def read_answers(store: Any, model: str, run_id: str) -> tuple[dict[str, Any], list[dict[str, str]]]:
    folder = f"{model}/{''.join(c if c.isalnum() or c in '_.-' else '_' for c in run_id)}"
    manifest = json.loads(store.get_object(Bucket="predictions", Key=f"{folder}/manifest.json")["Body"].read())
    part = store.get_object(Bucket="predictions", Key=f"{folder}/part-00000.csv")["Body"].read().decode()
    return manifest, list(csv.DictReader(io.StringIO(part)))


def test_a_batch_answers_five_rows_of_its_own_accord(airflow: Airflow, store: Any, runs: dict[str, str]) -> None:
    airflow.expect_success(BATCH, runs[BATCH])
    manifest, answers = read_answers(store, "iris", runs[BATCH])
    assert manifest["rows"] == len(answers) == 5
    assert {answer["version"] for answer in answers} == {manifest["version"]}


@pytest.mark.usefixtures("runs")
def test_a_batch_answers_a_file_as_predict_answers_its_rows(stack: Stack, airflow: Airflow, store: Any) -> None:
    lines = ["sepal_length,sepal_width,petal_length,petal_width", *(",".join(map(str, row)) for row in FLOWERS)]
    store.put_object(Bucket="datasets", Key="batch/rows.csv", Body="\n".join(lines).encode())
    run_id = airflow.run(BATCH, model="iris", input_uri="batch/rows.csv")
    _, answers = read_answers(store, "iris", run_id)
    assert [int(answer["prediction"]) for answer in answers] == stack.predict(FLOWERS).json()["predictions"]


def test_a_further_model_is_trained_rolled_out_and_answers_under_its_own_name(
    stack: Stack, airflow: Airflow, runs: dict[str, str]
) -> None:
    states = airflow.expect_success("train_with_mlflow", runs["train_with_mlflow"])
    assert {task: state for task, (state, _) in states.items()} == {
        "run_training": "success",
        "promote_model_to_production": "success",
    }
    wait_until(lambda: stack.read_version("IrisModel", FLOWER) == "1", FOLLOW_SECONDS, "IrisModel answers")


def test_a_search_runs_its_trials_in_parallel_tasks(airflow: Airflow, runs: dict[str, str]) -> None:
    states = airflow.expect_success("tune_model", runs["tune_model"])
    assert [states[f"search[{worker}]"] for worker in (0, 1)] == [("success", "2 trials")] * 2
    check_gate(states["train_best"][0], airflow.log("tune_model", runs["tune_model"], "train_best"))


def test_a_rejected_training_searches_and_is_gated_again(airflow: Airflow, runs: dict[str, str]) -> None:
    states = airflow.expect_success(TRAIN, runs[TRAIN])
    assert states["train_dataset.rejected[0]"][0] == "success"
    state = states["train_dataset.retrain_with_new_params[0]"][0]
    log = airflow.log(TRAIN, runs[TRAIN], "train_dataset.retrain_with_new_params", map_index=0)
    check_gate(state, log)
    assert ("after 1 searches" in log) is (state == "skipped")


@pytest.mark.long
def test_the_nightly_version_waits_and_the_selection_keeps_the_champion(airflow: Airflow, trained: str) -> None:
    assert trained
    airflow.unpause(SELECT)  # while it is paused, no event starts it
    airflow.expect_success(NIGHTLY, airflow.start_by_clock(NIGHTLY))
    states = airflow.expect_success(SELECT, airflow.wait_for_new_run(SELECT, set()))
    airflow.pause(NIGHTLY)
    airflow.pause(SELECT)
    assert {task: state for task, (state, _) in states.items()} == {
        "compare": "success",
        "update_model": "skipped",
        "keep_model": "success",
    }


@pytest.mark.long
def test_two_kinds_are_trained_and_the_better_one_meets_the_gate(airflow: Airflow, trained: str) -> None:
    assert trained
    run_id = airflow.start_by_clock(KINDS)
    states = airflow.expect_success(KINDS, run_id)
    airflow.pause(KINDS)
    airflow.wait_for_quiet()
    assert states.keys() == {"feature_engineering", "train_rf", "train_gb", "select_best_model"}
    check_gate(states["select_best_model"][0], airflow.log(KINDS, run_id, "select_best_model"))
