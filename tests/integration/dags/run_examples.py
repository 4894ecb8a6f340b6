"""Runs several DAGs in this process, as `dag.test()` does, and prints what Airflow made of every DAG file as JSON.

Usage: python -m tests.integration.dags.run_examples '{"DAG_ID": CONF, ...}'
"""

from __future__ import annotations

import json
import sys

from airflow.configuration import conf
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG


def main() -> None:
    bag = DagBag(conf.get("core", "dags_folder"))
    assert not bag.import_errors, bag.import_errors
    for dag_id, run_conf in json.loads(sys.argv[1]).items():
        bag.dags[dag_id].test(run_conf=run_conf)
    print(json.dumps({dag_id: describe(dag) for dag_id, dag in bag.dags.items()}))


def describe(dag: DAG) -> dict[str, object]:
    return {
        "timetable": type(dag.timetable).__name__,
        "is_paused_upon_creation": dag.is_paused_upon_creation,
        "downstream": {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks},
    }


if __name__ == "__main__":
    main()
