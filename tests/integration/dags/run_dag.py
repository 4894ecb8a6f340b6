"""Runs one DAG as `dag.test()` does, in a process of its own, and returns the state of every task."""

from __future__ import annotations

from typing import Any

from tests.integration.airflow_process import run_in_airflow


def run_dag(environment: dict[str, str], dag_id: str, **conf: object) -> dict[str, Any]:
    """State of the run, state of each `task_id[map_index]`, and all that was logged."""
    ran = run_in_airflow(environment, f"{__name__}:call_test", dag_id=dag_id, run_conf=conf)
    # At DEBUG Airflow prints what it asks itself to mask.
    log_lines = [line for line in ran.log.splitlines() if "MaskSecret" not in line]
    return {**ran.result, "log": "\n".join(log_lines)}


def call_test(dag_id: str, run_conf: dict[str, Any]) -> dict[str, Any]:
    """Runs it in this process."""
    from airflow import settings  # noqa: PLC0415
    from airflow.configuration import conf  # noqa: PLC0415
    from airflow.dag_processing.dagbag import DagBag  # noqa: PLC0415

    settings.initialize()
    pass_traces_on()
    run = DagBag(conf.get("core", "dags_folder")).dags[dag_id].test(run_conf=run_conf)
    states = {f"{task.task_id}[{task.map_index}]": str(task.state) for task in run.get_task_instances()}
    return {"state": str(run.state), "tasks": states}


def pass_traces_on() -> None:
    """Has each task know the trace of its run, as an executor tells it; `dag.test()` leaves it out."""
    from airflow.models.taskinstance import TaskInstance  # noqa: PLC0415
    from airflow.sdk.execution_time import supervisor  # noqa: PLC0415
    from airflow.utils.session import create_session  # noqa: PLC0415

    run_task_in_process = supervisor.run_task_in_process

    def run_traced(ti: Any, task: Any) -> Any:
        with create_session() as session:
            ti.context_carrier = session.get_one(TaskInstance, ti.id).context_carrier
        return run_task_in_process(ti=ti, task=task)

    supervisor.run_task_in_process = run_traced
