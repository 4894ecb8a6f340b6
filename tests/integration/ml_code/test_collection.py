"""The collection of the prediction log, with a real store and Postgres: killed, doubled, and without its store."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from ml_code import s3_client
from ml_code.errors import StorageError
from ml_code.monitoring.prediction_log.collection import collect
from ml_code.monitoring.prediction_log.reading import list_models, read_log, read_watermark
from ml_code.monitoring.prediction_log.retention import prune
from ml_code.segments import SegmentWriter
from ml_code.settings import Settings
from ml_code.warehouse import Warehouse
from ml_code.workspace import Workspace, open_workspace
from tests.faulty_proxy import RESET, FaultyProxy
from tests.integration.ml_code.collecting import Collectors, run_collectors
from tests.log_rows import IRIS, NOON, make_rows, render_lines
from tests.servers import ObjectStore, PostgresServer, describe_object_store, run_object_store_process

DAY = (NOON - timedelta(hours=12), NOON + timedelta(hours=12))


@pytest.fixture(scope="module")
def dsn(postgres: PostgresServer) -> str:
    dsn = postgres.create_database("prediction_log")
    Warehouse(dsn).migrate()
    return dsn


@pytest.fixture(scope="module")
def collectors() -> Iterator[Collectors]:
    with run_collectors() as collectors:
        yield collectors


@pytest.fixture
def values(dsn: str, object_store: ObjectStore, tmp_path: Path) -> dict[str, str]:
    """Settings of a log of its own for each test, in the shared store, as another process takes them."""
    return {
        "mlflow_url": "http://127.0.0.1:1",
        "mlflow_username": "trainer",
        "mlflow_password": "secret",
        "s3_endpoint_url": object_store.url,
        "s3_access_key": object_store.access_key,
        "s3_secret_key": object_store.secret_key,
        "warehouse_dsn": dsn,
        "predictions_uri": f"s3://predictions/{tmp_path.name}",
        "prediction_log_dir": str(tmp_path),
    }


@pytest.fixture
def settings(dsn: str, values: dict[str, Any]) -> Iterator[Settings]:
    yield Settings(**values)
    with Warehouse(dsn).transaction() as connection, connection.cursor() as cursor:
        cursor.execute("TRUNCATE warehouse.prediction_collection, warehouse.prediction_batch")


def answer(settings: Settings, first: int, count: int = 4) -> None:
    """A replica answers rows half an hour apart, and closes its segment."""
    rows = make_rows([[5.1, 3.5, 1.4, 0.2]] * count, [0] * count, pause=timedelta(minutes=30), first=first)
    assert settings.prediction_log_dir is not None
    writer = SegmentWriter(settings.prediction_log_dir / "segments", f"stable-{first}")
    writer.write(render_lines(IRIS, rows))
    writer.close()


def read_numbers(settings: Settings) -> list[int]:
    """The numbers of all logged requests; one that is there twice comes twice."""
    tables = read_log(open_workspace(settings), "iris", *DAY, columns=["client_request_id"]).values()
    return sorted(
        int(text.removeprefix("order-")) for table in tables for text in table["client_request_id"].to_pylist()
    )


def count_recorded(settings: Settings) -> tuple[Any, ...]:
    """Rows by collections, and by batches."""
    with open_workspace(settings).warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT sum(rows) FROM warehouse.prediction_collection), "
            "(SELECT sum(rows) FROM warehouse.prediction_batch)"
        )
        [counts] = cursor.fetchall()
    return tuple(counts)


@pytest.mark.parametrize("step", ["take_free", "_store", "_record", "retire"])
def test_killed_behind_a_step_twice_in_a_row_every_row_is_stored_and_counted_once(
    values: dict[str, str], settings: Settings, collectors: Collectors, step: str
) -> None:
    for first in (0, 4):
        answer(settings, first)
        assert collectors.collect(values, killed_behind=step) == [-signal.SIGKILL]
    collect(open_workspace(settings))
    assert read_numbers(settings) == list(range(8))
    assert count_recorded(settings) == (8, 8)


def test_two_collections_at_once_ten_times_store_every_row_once(
    values: dict[str, str], settings: Settings, collectors: Collectors
) -> None:
    for first in range(0, 40, 4):
        answer(settings, first)
        assert collectors.collect(values, count=2) == [0, 0]
    collect(open_workspace(settings))
    assert read_numbers(settings) == list(range(40))
    assert count_recorded(settings) == (40, 40)


def test_a_store_that_is_away_delays_rows_and_loses_none(
    settings: Settings, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = 2
    monkeypatch.setattr(s3_client, "TRIES", 1)
    with FaultyProxy("127.0.0.1", int(object_store.url.rpartition(":")[2])) as proxy:
        far = settings.model_copy(update={"s3_endpoint_url": proxy.url})
        proxy.fault = RESET
        first, until = 0, time.monotonic() + seconds
        while first == 0 or time.monotonic() < until:
            answer(settings, first)
            first += 4
            with pytest.raises(StorageError):
                collect(open_workspace(far))
            assert read_watermark(open_workspace(settings)) is None
            time.sleep(seconds / 4)
        proxy.fault = None
        collect(open_workspace(far))
    assert read_numbers(settings) == list(range(first))
    assert count_recorded(settings) == (first, first)


@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=pytest.mark.long)])
def test_a_store_whose_process_ends_and_starts_again_has_every_row_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seconds: int
) -> None:
    monkeypatch.setattr(s3_client, "TRIES", 1)
    store = describe_object_store(tmp_path / "store/objects", ["predictions"])
    keys = {"s3_access_key": store.access_key, "s3_secret_key": SecretStr(store.secret_key)}
    own = settings.model_copy(update={"s3_endpoint_url": store.url, **keys})
    with run_object_store_process(store):
        answer(own, 0)
        collect(open_workspace(own))
    failures, rows, end = 0, 4, time.monotonic() + seconds
    while failures == 0 or time.monotonic() < end:
        answer(own, rows)
        rows += 4
        with pytest.raises(StorageError):
            collect(open_workspace(own))
        failures += 1
        time.sleep(seconds / 4)
    with run_object_store_process(store):
        collect(open_workspace(own))
        assert read_numbers(own) == list(range(rows))
    assert count_recorded(own) == (rows, rows)


def test_a_collection_of_a_clock_that_was_ahead_does_not_make_the_log_complete(settings: Settings) -> None:
    workspace = open_workspace(settings)
    with workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO warehouse.prediction_collection "
            "(collection, began_at, segments, rows, dropped, torn, unreadable) "
            "VALUES ('ahead', now() + interval '1 day', 0, 0, 0, 0, 0)"
        )
    assert read_watermark(workspace) is None
    collect(workspace)
    watermark = read_watermark(workspace)
    assert watermark is not None
    assert watermark < datetime.now(UTC)


def test_the_log_is_complete_and_named_after_a_collection_and_old_hours_leave_the_store(settings: Settings) -> None:
    workspace = open_workspace(settings)
    assert collect(workspace) is not None
    assert read_watermark(workspace) is not None
    assert list_models(workspace) == []
    answer(settings, 0)
    collect(workspace)
    assert list_models(workspace) == ["iris"]
    short = Workspace(settings.model_copy(update={"prediction_log_days": 1}))
    assert prune(short, NOON + timedelta(hours=24, minutes=30)).objects == 0
    assert prune(short, NOON + timedelta(hours=25)).objects == 1
    assert read_numbers(settings) == [2, 3]
    assert prune(short, NOON + timedelta(hours=25)).objects == 0
