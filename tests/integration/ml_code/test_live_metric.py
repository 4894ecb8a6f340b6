"""The measured quality of live answers in a real Postgres."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ml_code.monitoring.quality.figures import Figure
from ml_code.monitoring.quality.history import (
    LiveMetric,
    make_row,
    mark_few_labels,
    read_history,
    read_measured,
    read_newest,
    write_window,
)
from ml_code.monitoring.quality.intervals import Estimate
from ml_code.monitoring.quality.windows import Window
from ml_code.monitoring.status import write_status
from ml_code.warehouse import Warehouse
from ml_code.workspace import Workspace
from tests.log_rows import make_log_workspace
from tests.servers import PostgresServer

MIDNIGHT = datetime(2026, 11, 20, tzinfo=UTC)
DAY = timedelta(days=1)
DAYS = [Window(MIDNIGHT + number * DAY, MIDNIGHT + (number + 1) * DAY) for number in range(3)]
HOLDOUT = Estimate(0.95, 0.9, 0.98)


@pytest.fixture
def workspace(postgres: PostgresServer) -> Workspace:
    warehouse = Warehouse(postgres.create_database(f"live_{secrets.token_hex(4)}"))
    warehouse.migrate()
    return Workspace(None, connect_warehouse=lambda _: warehouse)  # type: ignore[arg-type]


def make(
    window: Window, part: str = "", labelled: int = 40, version: str = "3", variant: str = "champion"
) -> LiveMetric:
    score = Estimate(0.9, 0.8, 0.95) if labelled else None
    figure = Figure(part, 100, labelled, labelled / 100, score, 0.93)
    return make_row(("iris", version, variant), window, figure, metric="accuracy", holdout=HOLDOUT, digest="d1")


def test_what_was_written_is_read_and_the_same_again_adds_no_row(workspace: Workspace) -> None:
    rows = [make(DAYS[0]), make(DAYS[0], "age <= 5")]
    for _ in range(2):
        write_window(workspace.warehouse, "iris", DAYS[0], rows)
    assert [replace(row, computed_at=None) for row in read_history(workspace, "iris")] == rows[:1]
    sliced = read_history(workspace, "iris", is_sliced=True)
    assert [(row.slice, row.score, row.holdout) for row in sliced] == [("", 0.9, 0.95), ("age <= 5", 0.9, None)]


def test_a_new_measurement_replaces_the_window_and_no_other_one(workspace: Workspace) -> None:
    write_window(workspace.warehouse, "iris", DAYS[0], [make(DAYS[0])])
    write_window(workspace.warehouse, "iris", DAYS[1], [make(DAYS[1]), make(DAYS[1], "age <= 5")])
    write_window(workspace.warehouse, "iris", DAYS[1], [make(DAYS[1], labelled=90)])
    found = read_history(workspace, "iris", is_sliced=True)
    assert [(row.window_end, row.slice, row.labelled) for row in found] == [
        (DAYS[1].end, "", 90),
        (DAYS[0].end, "", 40),
    ]


def test_the_newest_is_the_last_window_that_has_a_label(workspace: Workspace) -> None:
    write_window(workspace.warehouse, "iris", DAYS[0], [make(DAYS[0]), make(DAYS[0], version="4", variant="shadow")])
    write_window(workspace.warehouse, "iris", DAYS[1], [make(DAYS[1], labelled=0)])
    assert [(row.version, row.variant) for row in read_newest(workspace, "iris")] == [
        ("4", "shadow"),
        ("3", "champion"),
    ]
    assert read_newest(workspace, "roses") == []


def test_a_measured_window_tells_its_labels_and_its_answers_without_shadows(workspace: Workspace) -> None:
    rows = [
        make(DAYS[0]),
        make(DAYS[0], version="4", variant="challenger"),
        make(DAYS[0], version="4", variant="shadow"),
    ]
    write_window(workspace.warehouse, "iris", DAYS[0], rows)
    mark_few_labels(workspace.warehouse, "iris", {DAYS[0]: True})
    (found,) = read_measured(workspace.warehouse, "iris", MIDNIGHT).items()
    assert found[0] == DAYS[0]
    assert (found[1].labels_digest, found[1].rows, found[1].has_few_labels) == ("d1", 200, True)
    assert read_measured(workspace.warehouse, "iris", DAYS[0].end) == {}


def test_the_start_page_shows_quality_and_drift_of_the_champion(workspace: Workspace, tmp_path: Path) -> None:
    write_window(workspace.warehouse, "iris", DAYS[0], [make(DAYS[0])])
    with workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        for day, verdict in zip(DAYS, ("clean", "quality", "drift"), strict=True):
            cursor.execute(
                "INSERT INTO warehouse.drift_window (model, version, window_start, window_end, verdict, rows, figures) "
                "VALUES ('iris', '3', %s, %s, %s, 100, '{}')",
                (day.start, day.end, verdict),
            )
        cursor.execute(
            "INSERT INTO warehouse.retraining (model, owner, cause, reason, since, until, labels, outcome) "
            "VALUES ('iris', 'run', 'drift', 'rows moved', %s, %s, 250, 'rejected')",
            (DAYS[0].start - DAY, DAYS[0].start),
        )
    registry: Any = SimpleNamespace(read_aliases=lambda model: {"champion": "3"} if model == "iris" else {})
    made = make_log_workspace(tmp_path, workspace.warehouse)
    settings = made.settings.model_copy(update={"loop_status_dir": tmp_path})
    path = write_status(
        Workspace(settings, connect_tracker=lambda _: registry, connect_warehouse=lambda _: workspace.warehouse),
        MIDNIGHT,
    )
    assert path is not None
    found = {model["name"]: model for model in json.loads(path.read_text())["models"]}
    assert not [model for model in found.values() if "problem" in model]
    assert [window["verdict"] for window in found["iris"]["drift"]] == ["clean", "quality", "drift"]
    assert (found["iris"]["quality"]["score"], found["iris"]["decline"]) == (0.9, None)
    assert found["iris"]["labels"] == {"found": 40, "needed": 500, "missing": 460}
    assert found["iris"]["retraining"]["outcome"] == "rejected"
    assert found["iris"]["retraining"]["says"].endswith(" UTC, after drift, 250 labels: rejected")
    assert found["titanic"]["retraining"] is None
    assert (found["titanic"]["quality"], found["titanic"]["drift"]) == (None, [])
