"""The programs that clean beside the scheduler and MLflow, in their containers, and the DAG that plans."""

from __future__ import annotations

import pytest

from tests.e2e.airflow import Airflow
from tests.e2e.stack import Stack


@pytest.mark.parametrize(
    ("service", "program"),
    [("airflow-scheduler", "python /opt/airflow/upkeep.py 30 5"), ("mlflow", "python garbage.py 90 14")],
)
def test_a_program_runs_beside_its_service_and_cleans_with_its_rights(stack: Stack, service: str, program: str) -> None:
    running = stack.compose("exec", "-T", service, "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout
    assert program.split()[1].rsplit("/", 1)[-1] in running
    # MLflow's address holds a password, so start.sh makes it for its children alone.
    address = "postgresql+psycopg2://mlflow:$MLFLOW_DB_PASSWORD@$MLFLOW_DB_ADDRESS/mlflow"
    command = f'export MLFLOW_BACKEND_STORE_URI="{address}"; {program} once'
    # The first run of a stack only shows.
    _, second = (stack.compose("exec", "-T", service, "sh", "-c", command).stdout for _ in range(2))
    assert "housekeeping: deleted" in second


def test_the_plan_of_a_stack_without_old_things_is_empty(stack: Stack, airflow: Airflow) -> None:
    airflow.run("housekeeping")
    planned = "SELECT sum((planned->'snapshots'->>'entries')::int) FROM warehouse.housekeeping"
    assert stack.query_warehouse(planned) == "0"
