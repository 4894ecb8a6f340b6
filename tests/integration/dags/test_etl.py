"""`etl_example` run by Airflow itself against a real warehouse and object store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

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
    ran = run_dag({**airflow_environment, "MLOPS_DATASETS_DIR": str(tmp_path)}, "etl_example", path=str(file))
    assert ran["state"] == "failed"
    assert "found the columns number, name, expected employee_id" in ran["log"]


@pytest.mark.parametrize("path", ["/proc/self/environ", "s3://mlflow/environ.csv", "{folder}/link.csv"])
def test_the_log_of_a_refused_address_shows_nothing_of_it(
    airflow_environment: dict[str, str], tmp_path: Path, path: str
) -> None:
    (tmp_path / "link.csv").symlink_to("/proc/self/environ")
    secrets = {
        "MLOPS_MLFLOW_PASSWORD": "hunter22-of-mlflow",
        "AIRFLOW__API_AUTH__JWT_SECRET": "hunter22-of-airflow" * 4,
    }
    environment = {**airflow_environment, **secrets, "MLOPS_DATASETS_DIR": str(tmp_path)}
    ran = run_dag(environment, "etl_example", path=path.format(folder=tmp_path))
    assert ran["tasks"] == {"extract[-1]": "failed", "load[-1]": "upstream_failed"}, ran["log"][-3000:]
    assert "expected a key of s3://datasets" in ran["log"]
    assert "hunter22" not in ran["log"]
    assert environment["MLOPS_WAREHOUSE_DSN"] not in ran["log"]
