"""Which task is in which queue: workers on other hosts take `default` and `training`, never `rollout`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from mlops.upgrade.conditions import LONG_RUNS
from tests.repo.repository import ROOT

HERE = {
    # They talk to the replicas and the gateway, which Docker's DNS names on their own host.
    "ab_test": "*",
    "model_rollback": "*",
    "model_serving_pipeline": "*",
    # Folders of that host: the prediction log, and what the start page shows.
    "collect_predictions": "*",
    "housekeeping": "*",
    "monitor_model": {"show_state"},
    # The gate: its key is on that host alone.
    "mlops_training_pipeline": {
        "train_dataset.gate",
        "train_dataset.register",
        "train_dataset.retrain_with_new_params",
    },
    "model_retraining": {"retrain.gate"},
    "model_selection": "*",
    "model_training_selection": {"select_best_model"},
    "train_with_mlflow": {"promote_model_to_production"},
    "tune_model": {"train_best"},
}
"""Tasks of the queue `rollout`; `*` stands for all of a DAG."""

TRAINING = {
    "mlops_training_pipeline": {"train_dataset.train"},
    "model_retraining": {"retrain.train"},
    "model_training_selection": {"train_rf", "train_gb"},
    "simple_train": {"train"},
    "train_with_mlflow": {"run_training"},
    "tune_model": {"search"},
}
"""Tasks that may run on any host with the memory for them."""

SIGNERS = ("judging.decide", "judging.register(", "selection.", "steps.decide", "retraining.retrain")
"""Calls that decide, sign, or check a signature."""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Queue, pool and code of each task, by the id of its DAG and its own."""
    program = """if True:
        import inspect, json
        from airflow.dag_processing.dagbag import DagBag
        print("\\n" + json.dumps({dag.dag_id: {task.task_id: {
            "queue": task.queue, "pool": task.pool,
            "code": inspect.getsource(task.python_callable) if getattr(task, "python_callable", None) else "",
        } for task in dag.tasks} for dag in DagBag("dags").dags.values()}))"""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
    }
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    assert len(found) > len(HERE)
    return found


def test_a_task_that_needs_the_serving_host_is_in_its_queue(tasks: dict[str, dict[str, Any]]) -> None:
    found = {name: {task for task, of in dag.items() if of["queue"] == "rollout"} for name, dag in tasks.items()}
    expected = {name: set(tasks[name]) if names == "*" else names for name, names in HERE.items()}
    assert {name: names for name, names in found.items() if names} == expected


def test_a_training_is_in_the_queue_of_trainings(tasks: dict[str, dict[str, Any]]) -> None:
    found = {name: {task for task, of in dag.items() if of["queue"] == "training"} for name, dag in tasks.items()}
    assert {name: names for name, names in found.items() if names} == TRAINING


def test_an_upgrade_waits_for_each_training() -> None:
    assert set(TRAINING) <= LONG_RUNS


def test_the_pool_counts_the_trainings_of_every_host(tasks: dict[str, dict[str, Any]]) -> None:
    pooled = {(name, task) for name, dag in tasks.items() for task, of in dag.items() if of["pool"] == "training"}
    assert {(name, task) for name, names in TRAINING.items() for task in names} <= pooled
    assert {(name, task): tasks[name][task]["queue"] for name, task in pooled}.keys() == pooled
    assert {tasks[name][task]["queue"] for name, task in pooled} == {"training", "rollout"}


def test_every_other_task_runs_anywhere(tasks: dict[str, dict[str, Any]]) -> None:
    queues = {of["queue"] for dag in tasks.values() for of in dag.values()}
    assert queues == {"default", "training", "rollout"}
    assert {of["queue"] for of in tasks["hello_airflow_dag"].values()} == {"default"}


def test_no_task_of_another_host_asks_the_gate_or_a_replica(tasks: dict[str, dict[str, Any]]) -> None:
    """By the calls in its code."""
    calls = {
        (name, task)
        for name, dag in tasks.items()
        for task, of in dag.items()
        if of["queue"] != "rollout"
        and ("serving." in of["code"] or "control_rollout" in of["code"] or any(call in of["code"] for call in SIGNERS))
    }
    # It registers without the gate, which `model_selection` asks.
    assert calls == {("simple_train", "train")}
