"""Runs several DAGs as `dag.test()` does, in the process of the caller's choice."""

from __future__ import annotations

from typing import Any

from airflow import settings
from airflow.configuration import conf
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG


def run_examples(runs: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Runs each DAG with its configuration, and returns what Airflow made of every DAG file."""
    settings.initialize()
    bag = DagBag(conf.get("core", "dags_folder"))
    assert not bag.import_errors, bag.import_errors
    for dag_id, run_conf in runs.items():
        bag.dags[dag_id].test(run_conf=run_conf)
    return {dag_id: describe(dag) for dag_id, dag in bag.dags.items()}


def describe(dag: DAG) -> dict[str, object]:
    return {
        "timetable": type(dag.timetable).__name__,
        "is_paused_upon_creation": dag.is_paused_upon_creation,
        "downstream": {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks},
    }
