"""Runs one DAG as `dag.test()` does, in a process of its own, and answers the state of every task.

Usage: python -m tests.integration.dags.run_dag DAG_ID CONF
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def run_dag(environment: dict[str, str], dag_id: str, **conf: object) -> dict[str, Any]:
    """State of the run, state of each `task_id[map_index]`, and all that was logged."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.dags.run_dag", dag_id, json.dumps(conf)],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    result["log"] = done.stdout + done.stderr
    return result


def main() -> None:
    # Airflow is for this process alone: the tests import the function above.
    from airflow.configuration import conf  # noqa: PLC0415
    from airflow.dag_processing.dagbag import DagBag  # noqa: PLC0415

    dag_id, run_conf = sys.argv[1], json.loads(sys.argv[2])
    dag = DagBag(conf.get("core", "dags_folder")).dags[dag_id]
    run = dag.test(run_conf=run_conf)
    states = {f"{task.task_id}[{task.map_index}]": str(task.state) for task in run.get_task_instances()}
    print(json.dumps({"state": str(run.state), "tasks": states}))


if __name__ == "__main__":
    main()
