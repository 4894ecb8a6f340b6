"""Forecasts in a real Postgres and object store."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from ml_code.etl import forecasts
from ml_code.etl.forecasts import SavedForecast
from ml_code.etl.kma_document import KST
from ml_code.settings import Settings
from ml_code.warehouse import Warehouse
from ml_code.workspace import Workspace, open_workspace
from tests.kma_server import ENCODING_KEY, KmaServer, run_kma_server
from tests.servers import ObjectStore, PostgresServer

NOON = datetime(2026, 11, 21, 12, 50, tzinfo=KST)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def kma() -> Iterator[KmaServer]:
    with run_kma_server(NOON + 12 * HOUR) as server:
        yield server


@pytest.fixture(scope="module")
def workspace(postgres: PostgresServer, object_store: ObjectStore) -> Workspace:
    dsn = postgres.create_database("forecasts")
    Warehouse(dsn).migrate()
    settings = Settings(
        mlflow_url="http://127.0.0.1:1",
        mlflow_username="trainer",
        mlflow_password=SecretStr("secret"),
        s3_endpoint_url=object_store.url,
        s3_access_key=object_store.access_key,
        s3_secret_key=SecretStr(object_store.secret_key),
        warehouse_dsn=SecretStr(dsn),
    )
    return open_workspace(settings)


def crawl(kma: KmaServer, workspace: Workspace, now: datetime, nx: int, **values: str | None) -> SavedForecast:
    kma.values.update(values)
    raw_uri = forecasts.collect(workspace, ENCODING_KEY, kma.url, nx, 127, now=now)
    return forecasts.preprocess_and_save(workspace, raw_uri)


def read_table(workspace: Workspace, nx: int) -> list[tuple[Any, ...]]:
    assert workspace.settings.warehouse_dsn is not None
    warehouse = Warehouse(workspace.settings.warehouse_dsn.get_secret_value())
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT category, forecast_at, value, unit, raw, issued_at, collected_at "
            "FROM warehouse.weather_forecast WHERE nx = %s ORDER BY category, forecast_at",
            (nx,),
        )
        return cursor.fetchall()


def read_csv(workspace: Workspace, saved: SavedForecast) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(workspace.storage.read_bytes(saved.csv_uri).decode())))


def test_an_issue_becomes_rows_with_units_and_a_csv(kma: KmaServer, workspace: Workspace) -> None:
    saved = crawl(kma, workspace, NOON, 60, RN1="50.0mm 이상", LGT="-999", T1H="-2.5")
    assert saved == SavedForecast(60, 60, "s3://datasets/weather/nx60_ny127.csv")

    rows = {row[0]: row for row in read_table(workspace, 60)}
    assert rows["T1H"][2:5] == (-2.5, "°C", "-2.5")
    assert rows["RN1"][2:5] == (50.0, "mm", "50.0mm 이상")
    assert rows["LGT"][2:5] == (None, "kA", "-999")
    assert {row[5] for row in rows.values()} == {NOON - timedelta(minutes=20)}

    lines = read_csv(workspace, saved)
    assert [line["forecast_at"] for line in lines][:2] == ["2026-11-21T13:00:00+09:00", "2026-11-21T14:00:00+09:00"]
    assert len(lines) == 6
    assert lines[0]["temperature_c"] == "-2.5"
    assert (lines[0]["sky_code"], lines[0]["sky"], lines[0]["lightning_ka"]) == ("4", "overcast", "")


def test_the_same_hour_again_changes_nothing_and_says_so(
    kma: KmaServer, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    first = crawl(kma, workspace, NOON, 61)
    table, lines = read_table(workspace, 61), read_csv(workspace, first)
    with caplog.at_level("INFO"):
        again = crawl(kma, workspace, NOON + timedelta(minutes=5), 61, T1H="30")
    assert again.changed_count == 0
    assert (read_table(workspace, 61), read_csv(workspace, again)) == (table, lines)
    assert "nothing to do" in caplog.text
    assert "nothing changed" in caplog.text


def test_the_newest_issue_wins_in_whatever_order_they_come(kma: KmaServer, workspace: Workspace) -> None:
    crawl(kma, workspace, NOON + HOUR, 62, T1H="20")
    older = crawl(kma, workspace, NOON, 62, T1H="10")
    # Of the older issue's six hours the newer one covers five.
    assert older.changed_count == 10
    values = [row[2] for row in read_table(workspace, 62) if row[0] == "T1H"]
    assert values == [10, 20, 20, 20, 20, 20, 20]
    newest = crawl(kma, workspace, NOON + 2 * HOUR, 62, T1H="30")
    assert newest.changed_count == 60
    assert [line["temperature_c"] for line in read_csv(workspace, newest)] == ["10", "20", *["30"] * 6]


def test_a_category_that_is_new_is_kept_without_a_unit(kma: KmaServer, workspace: Workspace) -> None:
    saved = crawl(kma, workspace, NOON, 63, NEW="5")
    kma.values.pop("NEW")
    assert {row[2:5] for row in read_table(workspace, 63) if row[0] == "NEW"} == {(5.0, None, "5")}
    assert "NEW" not in read_csv(workspace, saved)[0]
