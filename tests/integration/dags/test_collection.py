"""`collect_predictions` run by Airflow itself against a real warehouse and object store."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from ml_code.segments import SegmentWriter
from ml_code.warehouse import Warehouse
from tests.integration.dags.run_dag import run_dag
from tests.log_rows import IRIS, NOON, make_rows, render_lines


def test_logged_rows_are_collected_once_and_a_stack_without_a_log_is_green(
    airflow_environment: dict[str, str], tmp_path: Path
) -> None:
    writer = SegmentWriter(tmp_path / "segments", "stable-a")
    writer.write(render_lines(IRIS, make_rows([[5.1, 3.5, 1.4, 0.2]] * 3, [0] * 3, pause=timedelta(seconds=1))))
    writer.close()
    ran = run_dag({**airflow_environment, "MLOPS_PREDICTION_LOG_DIR": str(tmp_path)}, "collect_predictions")
    assert ran["tasks"]["collect[-1]"] == "success", ran["log"][-3000:]
    assert ran["tasks"]["prune[-1]"] == "success"
    assert ran["tasks"]["collect_feedback[-1]"] == "success", ran["log"][-3000:]
    assert "collected 3 rows of 1 segments" in ran["log"]
    with Warehouse(airflow_environment["MLOPS_WAREHOUSE_DSN"]).transaction() as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT model, rows, first_time FROM warehouse.prediction_batch")
        assert cursor.fetchall() == [("iris", 3, NOON)]
    without = run_dag(airflow_environment, "collect_predictions")
    assert without["state"] == "success"
    assert without["tasks"]["collect[-1]"] == "skipped"
    assert "MLOPS_PREDICTION_LOG_DIR is not set" in without["log"]
