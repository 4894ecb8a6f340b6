"""Thirty days of forecasts saved again, eight issues at a time, and killed twice: as one after the other."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from typing import Any

import pytest

from ml_code.etl import forecasts
from ml_code.etl.kma_document import KST, Place
from ml_code.settings import REPOSITORY, Settings
from ml_code.warehouse import Warehouse
from ml_code.workspace import Workspace, open_workspace
from tests.kma_server import VALUES, KmaServer
from tests.servers import PostgresServer

FIRST = datetime(2026, 10, 20, 12, 30, tzinfo=KST)
ISSUES = [FIRST + timedelta(days=day, hours=hour) for day in range(30) for hour in range(2)]
"""Two of each day, which forecast some of the same hours: the newer one counts."""

ROWS = 30 * 7 * len(VALUES)


@pytest.fixture(scope="module")
def settings(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A warehouse of its own; the responses and the CSV lie in a folder."""
    dsn = postgres.create_database("backfill")
    Warehouse(dsn).migrate()
    return {
        "mlflow_url": "http://127.0.0.1:1",
        "mlflow_username": "trainer",
        "mlflow_password": "secret",
        "s3_endpoint_url": "http://127.0.0.1:1",
        "s3_access_key": "key",
        "s3_secret_key": "secret",
        "warehouse_dsn": dsn,
        "datasets_uri": str(tmp_path_factory.mktemp("backfill")),
    }


def store_issues(workspace: Workspace, nx: int) -> list[str]:
    """Stores the responses as `collect` does; each has values of its own."""
    uris = []
    for number, issued_at in enumerate(ISSUES):
        kma = KmaServer("", issued_at, VALUES | {"T1H": str(number), "WSD": f"{number / 10:.1f}"})
        page = kma.page({"numOfRows": "1000", "pageNo": "1", "nx": str(nx), "ny": "127"}, issued_at)
        uris.append(workspace.places.locate_weather(f"raw/{issued_at:%Y%m%dT%H%M}_{Place(nx, 127)}.json"))
        workspace.storage.write_bytes(uris[-1], json.dumps([page]).encode())
    return uris


def save_side_by_side(settings: dict[str, Any], uris: list[str], kill_at: int) -> int:
    """Runs the backfill in a group of processes; returns its exit code."""
    return subprocess.run(
        [sys.executable, "-m", "tests.integration.ml_code.backfill"],
        input=json.dumps({"settings": settings, "uris": uris, "kill_at": kill_at}),
        text=True,
        cwd=REPOSITORY,
        start_new_session=True,
        check=False,
    ).returncode


def read_table(workspace: Workspace, nx: int) -> list[tuple[Any, ...]]:
    with workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT forecast_at, category, value, unit, raw, issued_at FROM warehouse.weather_forecast "
            "WHERE nx = %s ORDER BY forecast_at, category",
            (nx,),
        )
        return cursor.fetchall()


def read_csv(workspace: Workspace, nx: int) -> bytes:
    return workspace.storage.read_bytes(workspace.places.locate_weather(f"{Place(nx, 127)}.csv"))


def test_a_backfill_that_is_killed_twice_leaves_the_table_of_a_serial_run(settings: dict[str, Any]) -> None:
    workspace = open_workspace(Settings(**settings))
    for uri in store_issues(workspace, 60):
        forecasts.preprocess_and_save(workspace, uri)
    uris = store_issues(workspace, 61)
    assert save_side_by_side(settings, uris, kill_at=70) == -signal.SIGKILL
    assert 0 < len(read_table(workspace, 61)) < ROWS
    assert save_side_by_side(settings, uris, kill_at=200) == -signal.SIGKILL
    assert save_side_by_side(settings, uris, kill_at=0) == 0
    assert len(read_table(workspace, 60)) == ROWS
    assert read_table(workspace, 61) == read_table(workspace, 60)
    assert read_csv(workspace, 61) == read_csv(workspace, 60)
