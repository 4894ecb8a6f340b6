"""`etl_example` run by Airflow itself against a real warehouse and object store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ml_code.warehouse import Warehouse
from tests.integration.dags.run_dag import run_dag


def count_employees(environment: dict[str, str]) -> Any:
    with Warehouse(environment["MLOPS_WAREHOUSE_DSN"]).transaction() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM warehouse.employees")
        return cursor.fetchall()[0][0]


def test_the_sample_is_loaded_once_and_the_second_run_says_so(airflow_environment: dict[str, str]) -> None:
    first = run_dag(airflow_environment, "etl_example")
    assert first["tasks"] == {"extract[-1]": "success", "load[-1]": "success"}, first["log"][-3000:]
    assert "200 rows read, 200 good, 0 in quarantine, 200 new or changed" in first["log"]
    again = run_dag(airflow_environment, "etl_example")
    assert again["tasks"] == {"extract[-1]": "success", "load[-1]": "skipped"}
    assert again["state"] == "success"
    assert "already loaded" in again["log"]
    assert count_employees(airflow_environment) == 200


def test_a_file_with_other_columns_fails_at_once(airflow_environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("number,name\n1,Kim\n")
    ran = run_dag(airflow_environment, "etl_example", path=str(file))
    assert ran["state"] == "failed"
    assert "found the columns number, name, expected employee_id" in ran["log"]
