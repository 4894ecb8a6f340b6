"""The program that deletes Airflow's old rows beside the scheduler, on a real database."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from tests.integration.airflow_home import prepare_airflow
from tests.integration.dags.run_dag import run_dag
from tests.servers import ObjectStore, PostgresServer

PROGRAM = Path(__file__).parents[2] / "docker/airflow/upkeep.py"
DAG = "collect_predictions"  # without a folder of the log it skips its tasks


@pytest.fixture
def environment(
    tmp_path: Path, postgres: PostgresServer, object_store: ObjectStore, airflow_template: str
) -> dict[str, str]:
    postgres.create_database("upkeep", template=airflow_template)
    logs = {"AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(tmp_path / "logs"), "PYTHONWARNINGS": "ignore"}
    results = postgres.create_database("results")
    with psycopg2.connect(results) as connection:
        connection.cursor().execute("CREATE TABLE celery_taskmeta (task_id text, date_done timestamp)")
    address = {"AIRFLOW__CELERY__RESULT_BACKEND": f"db+{postgres.sqlalchemy_url('results')}"}
    return {**prepare_airflow(tmp_path, postgres, object_store, "upkeep"), **logs, **address}


def clean(environment: dict[str, str]) -> str:
    command = [sys.executable, PROGRAM, "30", "5", "once"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    return done.stdout


def test_old_runs_go_up_to_the_oldest_that_has_not_ended(postgres: PostgresServer, environment: dict[str, str]) -> None:
    def ask(statement: str, database: str = "upkeep") -> list[Any]:
        with psycopg2.connect(postgres.dsn(database)) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    for _ in range(2):
        run_dag(environment, DAG)
    (old, waiting) = [number for (number,) in ask("SELECT id FROM dag_run ORDER BY id")]
    ask(f"UPDATE dag_run SET start_date = now() - interval '200 days', state = 'success' WHERE id = {old}")
    ask(f"UPDATE dag_run SET start_date = now() - interval '100 days', state = 'running' WHERE id = {waiting}")
    ask("DELETE FROM log")
    for days in (150, 60):
        ask(f"INSERT INTO log (dttm, event) VALUES (now() - interval '{days} days', '{days}')")
    for days in (40, 20):
        ask(f"INSERT INTO celery_taskmeta VALUES ('{days}', now() - interval '{days} days')", "results")
    (Path(environment["AIRFLOW__LOGGING__BASE_LOG_FOLDER"])).mkdir(exist_ok=True)

    assert "a first run shows and deletes nothing" in clean(environment)
    assert len(ask("SELECT 1 FROM dag_run")) == 2
    assert len(ask("SELECT 1 FROM celery_taskmeta", "results")) == 2
    clean(environment)
    assert ask("SELECT id FROM dag_run") == [(waiting,)]
    assert {
        run for (run,) in ask("SELECT DISTINCT dr.id FROM task_instance JOIN dag_run dr USING (dag_id, run_id)")
    } == {waiting}
    assert ask("SELECT event FROM log") == [("60",)]
    assert ask("SELECT 1 FROM information_schema.tables WHERE table_name LIKE '\\_airflow\\_deleted%'") == []
    assert ask("SELECT 1 FROM dag") != []
    assert ask("SELECT task_id FROM celery_taskmeta", "results") == [("20",)]
