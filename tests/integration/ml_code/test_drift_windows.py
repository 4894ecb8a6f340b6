"""The table of judged windows in a real Postgres: what is written comes back, and once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ml_code.monitoring.drift.history import find_last_end, read_windows, record_window
from ml_code.monitoring.drift.judging import Judgement
from ml_code.monitoring.drift.windows import Window
from ml_code.warehouse import Warehouse
from ml_code.workspace import Workspace
from tests.offline_settings import make_offline_settings
from tests.servers import PostgresServer

DAY = datetime(2026, 11, 20, tzinfo=UTC)
FIRST, SECOND = Window(DAY, DAY + timedelta(days=1)), Window(DAY + timedelta(days=1), DAY + timedelta(days=2))


@pytest.fixture
def workspace(postgres: PostgresServer, tmp_path: Path) -> Workspace:
    warehouse = Warehouse(postgres.create_database("drift_windows"))
    warehouse.migrate()
    return Workspace(make_offline_settings(tmp_path), connect_warehouse=lambda _: warehouse)


def test_judged_windows_come_back_the_newest_first_and_only_once(workspace: Workspace) -> None:
    assert find_last_end(workspace, "iris", "3") is None
    record_window(workspace, "iris", "3", SECOND, Judgement("drift", 300, 280, units=120), page_uri="s3://page")
    record_window(workspace, "iris", "3", FIRST, Judgement("quality", 90, faults=["size is missing"]))
    record_window(workspace, "iris", "3", FIRST, Judgement("clean", 1))
    record_window(workspace, "iris", "4", SECOND, Judgement("clean", 300))
    newest, oldest = read_windows(workspace, "iris", "3")
    assert (newest.window, newest.verdict, newest.rows, newest.units) == (SECOND, "drift", 300, 120)
    assert (newest.figures["judged_rows"], newest.page_uri) == (280, "s3://page")
    assert (oldest.window, oldest.verdict, oldest.figures["faults"]) == (FIRST, "quality", ["size is missing"])
    assert find_last_end(workspace, "iris", "3") == SECOND.end
