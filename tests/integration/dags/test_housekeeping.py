"""`housekeeping` run by Airflow itself against a real MLflow, warehouse and object store."""

from __future__ import annotations

from ml_code.settings import Settings
from ml_code.storage import Storage
from tests.integration.dags.run_dag import run_dag


def test_the_first_run_shows_and_the_second_deletes(
    airflow_environment: dict[str, str], stack_settings: Settings
) -> None:
    storage, report = Storage(stack_settings), "s3://datasets/nightly/quarantine/iris/0.csv"
    storage.write_bytes(report, b"x")
    environment = {
        **airflow_environment,
        "MLOPS_MLFLOW_URL": stack_settings.mlflow_url,
        "MLOPS_MLFLOW_USERNAME": stack_settings.mlflow_username,
        "MLOPS_MLFLOW_PASSWORD": stack_settings.mlflow_password.get_secret_value(),
        "MLOPS_DATASETS_URI": "s3://datasets/nightly",
        "MLOPS_PREDICTIONS_URI": "s3://predictions/nightly",
        "MLOPS_QUARANTINE_DAYS": "0.000001",
        "MLOPS_BACKUP_DAYS": "0.000001",
    }
    first = run_dag(environment, "housekeeping")
    assert first["state"] == "success", first["log"][-3000:]
    assert first["tasks"] == {"show_plan[-1]": "success", "delete_old[-1]": "skipped"}
    assert "would delete quarantine: 1, 0.0 MB" in first["log"]
    assert storage.find(report) is not None
    second = run_dag(environment, "housekeeping")
    assert second["tasks"] == {"show_plan[-1]": "success", "delete_old[0]": "success"}, second["log"][-3000:]
    assert storage.find(report) is None
