"""Runs one DAG in this process, as `dag.test()` does, and prints the state of every task as JSON.

Usage: python -m tests.integration.dags.run_dag DAG_ID CONF
"""

from __future__ import annotations

import json
import sys

from airflow.configuration import conf
from airflow.dag_processing.dagbag import DagBag


def main() -> None:
    dag_id, run_conf = sys.argv[1], json.loads(sys.argv[2])
    dag = DagBag(conf.get("core", "dags_folder")).dags[dag_id]
    run = dag.test(run_conf=run_conf)
    states = {f"{task.task_id}[{task.map_index}]": str(task.state) for task in run.get_task_instances()}
    print(json.dumps({"state": str(run.state), "tasks": states}))


if __name__ == "__main__":
    main()
