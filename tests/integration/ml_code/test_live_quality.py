"""From logged rows and labels in a store to figures in a real Postgres."""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ml_code.data.holdout import find_held_live, split_holdout
from ml_code.data.snapshots import prepare, read_snapshot
from ml_code.datasets import load_dataset
from ml_code.errors import TrackingError
from ml_code.monitoring.feedback.labels import STORED, write_events
from ml_code.monitoring.quality.decline import find_decline
from ml_code.monitoring.quality.history import read_history, read_newest
from ml_code.monitoring.quality.measuring import measure_all, measure_model
from ml_code.monitoring.staleness.history import read_versions
from ml_code.monitoring.staleness.measuring import measure_all as measure_all_staleness
from ml_code.monitoring.staleness.measuring import measure_model as measure_staleness
from ml_code.tracking import RunRecord, VersionRecord
from ml_code.warehouse import Warehouse
from ml_code.workspace import Workspace, open_workspace
from tests.full_tables import train_family
from tests.log_rows import IRIS, make_log_workspace, make_rows, write_log
from tests.offline_settings import make_offline_settings
from tests.servers import PostgresServer

MIDNIGHT = datetime(2026, 11, 20, tzinfo=UTC)
DAY = timedelta(days=1)
FLOWER = [5.1, 3.5, 1.4, 0.2]


class Registry:
    """MLflow with one champion, whose holdout's score is known and whose snapshot is gone."""

    content = b""

    def __init__(self) -> None:
        self.pages: list[str] = []

    def read_aliases(self, model: str) -> dict[str, str]:
        return {"champion": "3"} if model == "iris" else {}

    def read_version(self, model: str, version: str) -> VersionRecord:
        return VersionRecord(model, version, "run", {}, MIDNIGHT - 9 * DAY if version == "3" else None)

    def read_model_file(self, model: str, version: str) -> bytes:
        if version == "1":
            raise TrackingError("version 1 of iris: found none; a person deleted it")
        return self.content

    def log_page(self, run_id: str, path: str, content: bytes) -> None:
        self.pages.append(path)

    def read_run(self, run_id: str) -> RunRecord:
        metrics = {"accuracy": 0.96, "accuracy_low": 0.94, "accuracy_high": 0.98}
        return RunRecord(run_id, "FINISHED", {}, metrics, {"dataset": "iris"})


@dataclass
class Loop:
    """A store in a folder and a warehouse: answers and labels are put in, as collections would put them."""

    workspace: Workspace
    batches: int = 0

    def answer(self, day: int, rows: int, **head: Any) -> list[str]:
        """Logs answers of one day, and returns their ids."""
        self.batches += 1
        features = [[cell + number % 7 / 10 for cell in FLOWER] for number in range(rows)]
        start = MIDNIGHT + day * DAY + timedelta(hours=3)
        made = make_rows(features, ["setosa"] * rows, start=start, scores=[0.9] * rows, first=1000 * self.batches)
        write_log(self.workspace, replace(IRIS, **head), made, f"20261121T000000.{self.batches:06d}Z-0")
        with self.workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO warehouse.prediction_collection VALUES (%s, %s, now(), 1, %s, 0, 0, 0)",
                (str(self.batches), start + 30 * DAY, rows),
            )
            cursor.execute(
                "INSERT INTO warehouse.prediction_batch VALUES (%s, 'iris', %s, %s, 0, %s, %s, 1)",
                (str(self.batches), IRIS.schema, rows, start, start + timedelta(minutes=30)),
            )
        return [row.request_id for row in made]

    def complete(self, until: datetime) -> None:
        """The log is complete up to this moment, and no further."""
        with self.workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
            cursor.execute("UPDATE warehouse.prediction_collection SET began_at = %s", (until + timedelta(seconds=90),))

    def label(self, ids: Sequence[str], labels: Sequence[str], received: datetime, name: str = "a") -> None:
        """Puts labels of answers of one hour."""
        ids_bytes = [bytes.fromhex(text) for text in ids]
        times = [datetime.fromtimestamp(int(text[:12], 16) / 1000, UTC) for text in ids]
        values = [ids_bytes, [0] * len(ids), times, list(labels), [None] * len(ids), [received] * len(ids)]
        values += [["till"] * len(ids), ["feedback"] * len(ids), ids_bytes]
        table = pa.table(dict(zip(STORED.names, values, strict=True)), schema=STORED)
        write_events(self.workspace, "iris", times[0].replace(minute=0, second=0, microsecond=0), name, table)

    def measure(self, now: datetime = MIDNIGHT + 10 * DAY) -> list[str]:
        return measure_model(self.workspace, "iris", now)

    def read(self) -> list[tuple[str, str, int, int, float | None]]:
        rows = read_history(self.workspace, "iris")
        return [(row.version, row.variant, row.rows, row.labelled, row.score) for row in rows]


@pytest.fixture
def loop(postgres: PostgresServer, tmp_path: Path) -> Loop:
    warehouse = Warehouse(postgres.create_database(f"quality_{secrets.token_hex(4)}"))
    warehouse.migrate()
    made = make_log_workspace(tmp_path, warehouse)
    return Loop(replace(made, connect_tracker=lambda _: Registry()))  # type: ignore[arg-type,return-value]


def train_iris(folder: Path) -> bytes:
    """The file of a linear model."""
    workspace = open_workspace(make_offline_settings(folder))
    dataset = load_dataset("iris")
    split = split_holdout(dataset, read_snapshot(workspace, prepare(workspace, "iris")))
    return train_family(dataset, split, "linear").content


def test_a_closed_day_is_measured_by_version_and_variant(loop: Loop) -> None:
    ids = loop.answer(0, 100)
    loop.answer(0, 20, version="4", variant="challenger")
    loop.answer(0, 30, traffic="replay")
    loop.label(ids[:50], ["setosa"] * 45 + ["virginica"] * 5, MIDNIGHT + DAY)
    loop.complete(MIDNIGHT + DAY)
    assert loop.measure() == []
    assert loop.read() == [("4", "challenger", 20, 0, None), ("3", "champion", 100, 50, 0.9)]
    (newest,) = read_newest(loop.workspace, "iris")
    assert (newest.coverage, newest.holdout, newest.window_end) == (0.5, 0.96, MIDNIGHT + DAY)
    assert newest.low is not None
    assert newest.low < 0.9


def test_a_day_is_not_measured_before_its_log_is_complete(loop: Loop) -> None:
    loop.answer(0, 10)
    loop.complete(MIDNIGHT + DAY - timedelta(seconds=1))
    loop.measure()
    assert loop.read() == []
    loop.complete(MIDNIGHT + DAY)
    loop.measure()
    assert loop.read() == [("3", "champion", 10, 0, None)]


def test_a_late_or_corrected_label_measures_its_day_again_and_no_other(loop: Loop) -> None:
    first, second = loop.answer(0, 10), loop.answer(1, 10)
    loop.label(first, ["setosa"] * 10, MIDNIGHT + DAY)
    loop.complete(MIDNIGHT + 2 * DAY)
    loop.measure()
    before = read_history(loop.workspace, "iris")
    loop.measure()
    assert read_history(loop.workspace, "iris") == before
    loop.label(second[:5], ["virginica"] * 5, MIDNIGHT + 3 * DAY, "b")
    loop.measure()
    assert loop.read() == [("3", "champion", 10, 5, 0.0), ("3", "champion", 10, 10, 1.0)]
    assert read_history(loop.workspace, "iris")[1] == before[1]
    loop.label(second[:5], ["setosa"] * 5, MIDNIGHT + 4 * DAY, "c")
    loop.measure()
    assert loop.read()[0] == ("3", "champion", 10, 5, 1.0)


def test_labels_count_until_the_horizon_and_a_log_that_is_gone_changes_nothing(loop: Loop) -> None:
    ids = loop.answer(0, 10)
    loop.complete(MIDNIGHT + DAY)
    loop.measure()
    loop.label(ids, ["setosa"] * 10, MIDNIGHT + DAY)
    loop.complete(MIDNIGHT + 31 * DAY)
    loop.measure()
    assert loop.read() == [("3", "champion", 10, 0, None)]
    loop.complete(MIDNIGHT + 2 * DAY)
    loop.answer(0, 0)
    for path in Path(loop.workspace.places.locate_log("iris")).rglob("*.parquet"):
        path.unlink()
    loop.complete(MIDNIGHT + 2 * DAY)
    loop.measure()
    assert loop.read() == [("3", "champion", 10, 0, None)]


def test_a_champion_that_got_worse_is_a_decline(loop: Loop) -> None:
    for day in range(3):
        ids = loop.answer(day, 300)
        wrong = 12 if day < 2 else 120
        loop.label(ids, ["virginica"] * wrong + ["setosa"] * (300 - wrong), MIDNIGHT + (day + 1) * DAY, str(day))
        loop.complete(MIDNIGHT + (day + 1) * DAY)
        loop.measure()
        found = find_decline(loop.workspace, "iris")
        assert (found is not None) == (day == 2)
    assert found is not None
    assert (found.version, found.labelled, found.since) == ("3", 300, MIDNIGHT + 2 * DAY)
    assert math.isclose(found.score, 0.6)


def test_labels_that_stay_away_are_told_once(loop: Loop) -> None:
    for day in range(5):
        ids = loop.answer(day, 60)
        if day < 3:
            loop.label(ids[:40], ["setosa"] * 40, MIDNIGHT + (day + 1) * DAY, str(day))
    loop.complete(MIDNIGHT + 5 * DAY)
    told = loop.measure()
    assert len(told) == 1
    assert "labels of 0% of the answers from 2026-11-23 00:00" in told[0]
    assert "expected about 67%" in told[0]
    assert loop.measure() == []
    assert [row.has_few_labels for row in read_history(loop.workspace, "iris")] == [True, True, False, False, False]


def test_older_versions_are_scored_on_the_newest_labels_once_for_each_window(loop: Loop, tmp_path: Path) -> None:
    registry: Any = loop.workspace.tracker
    registry.content = train_iris(tmp_path / "iris")
    with loop.workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        for before, after in ((None, "1"), ("1", "2"), ("2", "3")):
            cursor.execute(
                "INSERT INTO warehouse.promotion_log (model, action, from_version, to_version, who, why) "
                "VALUES ('iris', 'promote', %s, %s, 'ada', 'better')",
                (before, after),
            )
    ids = loop.answer(0, 300)
    loop.answer(0, 40, variant="shadow")
    loop.label(ids, ["0"] * 270 + ["2"] * 30, MIDNIGHT + DAY)
    loop.complete(MIDNIGHT + DAY)
    dataset = load_dataset("iris")
    assert measure_staleness(loop.workspace, "iris", dataset) == []  # no window is measured yet
    loop.measure()
    measure_all_staleness(loop.workspace)
    found = read_versions(loop.workspace, "iris")
    # The age of versions 1 and 2 is unknown, so only held-out answers count.
    held = find_held_live(dataset, [f"{name}-0" for name in ids])
    right = held[:270].sum() / held.sum()
    assert [(row.version, row.is_champion, row.rows) for row in found] == [
        ("3", True, held.sum()), ("1", False, held.sum()), ("2", False, held.sum()),
    ]  # fmt: skip
    assert [row.score for row in found] == [pytest.approx(right), None, pytest.approx(right)]
    assert (found[0].age_days, found[0].window_end, found[0].low is None) == (10, MIDNIGHT + DAY, False)
    assert "a person deleted it" in str(found[1].problem)
    assert registry.pages == ["staleness/20261121T000000Z.html"]
    assert b"what staleness costs" in loop.workspace.storage.read_bytes(found[0].page_uri)
    assert measure_staleness(loop.workspace, "iris", dataset) == []
    loop.answer(1, 60)
    loop.complete(MIDNIGHT + 2 * DAY)
    loop.measure()
    again = measure_staleness(loop.workspace, "iris", dataset)
    assert [row.window_end for row in again] == [MIDNIGHT + 2 * DAY] * 3
    assert len(registry.pages) == 2


def test_a_few_labels_do_not_tell_versions_apart(loop: Loop, tmp_path: Path) -> None:
    registry: Any = loop.workspace.tracker
    registry.content = train_iris(tmp_path / "iris")
    ids = loop.answer(0, 300)
    loop.label(ids[:49], ["0"] * 49, MIDNIGHT + DAY)
    loop.complete(MIDNIGHT + DAY)
    loop.measure()
    dataset = load_dataset("iris")
    assert measure_staleness(loop.workspace, "iris", dataset) == []
    loop.label(ids[49:50], ["0"], MIDNIGHT + DAY, "b")
    (alone,) = measure_staleness(loop.workspace, "iris", dataset)
    assert (alone.version, alone.rows, alone.score) == ("3", 50, 1.0)


def test_a_fresh_stack_has_nothing_to_measure(loop: Loop) -> None:
    assert measure_all(loop.workspace, MIDNIGHT) == []
    assert loop.measure() == []
