"""The rows of the log that a retraining takes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from ml_code.datasets import load_catalog, load_dataset
from ml_code.monitoring.retraining.labelled import read_live
from tests.log_rows import IRIS, NOON, make_log_workspace, make_rows, write_log


def test_rows_that_a_shadow_predicted_too_are_taken_once(tmp_path: Path) -> None:
    workspace = make_log_workspace(tmp_path)
    rows = make_rows([[5.1, 3.5, 1.4, 0.2], [6.0, 2.9, 4.5, 1.5]], [0, 1])
    write_log(workspace, IRIS, rows)
    write_log(workspace, replace(IRIS, version="4", variant="shadow"), rows, name="20261121T000001.000000Z-0")
    dataset = load_dataset(load_catalog().list_models()["iris"])
    found = read_live(workspace, "iris", dataset, NOON, NOON + timedelta(hours=1))
    assert sorted(found["sepal_length"]) == [5.1, 6.0]
