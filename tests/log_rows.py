"""Rows of a prediction log for tests, in the store without a replica or a collection; and a warehouse in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import SecretStr

from ml_code.monitoring.prediction_log.blocks import MAX_ROWS, Head, Row, render_block
from ml_code.monitoring.prediction_log.tables import Parts
from ml_code.settings import Settings
from ml_code.workspace import Workspace

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)

IRIS = Head(
    "iris",
    "3",
    "champion",
    "live",
    "classification",
    ["sepal_length", "sepal_width", "petal_length", "petal_width"],
    ["numeric"] * 4,
)


def make_id(moment: datetime, number: int) -> str:
    """A UUIDv7 of that moment."""
    return f"{round(moment.timestamp() * 1000):012x}7000{0x8 << 60 | number:016x}"


def make_rows(
    features: Sequence[Sequence[Any]],
    predictions: Sequence[Any],
    *,
    start: datetime = NOON,
    pause: timedelta = timedelta(seconds=1),
    scores: Sequence[float] | None = None,
    units: Sequence[str] | None = None,
    first: int = 0,
) -> list[Row]:
    """One request per row, each a pause after the one before.

    Args:
        features: shape (rows, features), in the order of the head's features.
        predictions: shape (rows,).
        start: of the first request.
        pause: between two requests.
        scores: shape (rows,), the probability of the answered class.
        units: shape (rows,), the hashed users.
        first: number of the first request, which makes ids of the same moment different.
    """
    rows = []
    for number, (cells, prediction) in enumerate(zip(features, predictions, strict=True)):
        moment = start + number * pause
        request_id = make_id(moment, first + number)
        time_ms = int(request_id[:12], 16)
        unit, score = units[number] if units else None, scores[number] if scores else None
        rows.append(Row(request_id, 0, time_ms, f"order-{first + number}", unit, 0.5, list(cells), prediction, score))
    return rows


def render_lines(head: Head, rows: Sequence[Row], dropped: int = 0) -> bytes:
    """The lines that a replica writes for these rows."""
    starts = range(0, max(len(rows), 1), MAX_ROWS)
    return b"".join(render_block(head, rows[at : at + MAX_ROWS], dropped if at == 0 else 0) for at in starts)


def write_log(workspace: Workspace, head: Head, rows: Sequence[Row], name: str = "20261121T000000.000000Z-0") -> None:
    """Puts the rows where a collection of that name would."""
    parts = Parts()
    parts.add_lines(render_lines(head, rows).splitlines())
    assert not parts.unreadable
    for part, table in parts.list_tables():
        with workspace.storage.create(
            workspace.places.locate_log_hour(part.model, part.schema, part.hour, name)
        ) as path:
            pq.write_table(table, path, compression="zstd")


class LogWarehouse:
    """The tables of the prediction log in memory; a transaction that fails leaves nothing."""

    def __init__(self) -> None:
        self.collections: dict[str, tuple[Any, ...]] = {}
        self.batches: dict[tuple[str, str, str], tuple[Any, ...]] = {}
        self.is_backed_up = False
        self._answer: list[tuple[Any, ...]] = []

    @contextmanager
    def transaction(self) -> Iterator[LogWarehouse]:
        before = dict(self.collections), dict(self.batches)
        try:
            yield self
        except BaseException:
            self.collections, self.batches = before
            raise

    @contextmanager
    def cursor(self) -> Iterator[LogWarehouse]:
        yield self

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> None:
        if statement.startswith("INSERT INTO warehouse.prediction_collection"):
            self.collections.setdefault(values[0], values[1:])
        elif statement.startswith("INSERT INTO warehouse.prediction_batch"):
            self.batches.setdefault((values[0], values[1], values[2]), values[3:])
        elif "max(began_at)" in statement:
            self._answer = [(max((row[0] for row in self.collections.values()), default=None),)]
        elif "pg_try_advisory_xact_lock" in statement:
            self._answer = [(not self.is_backed_up,)]
        elif "DISTINCT model" in statement:
            self._answer = [(model,) for model in sorted({model for _, model, _ in self.batches})]
        else:
            raise AssertionError(f"an unknown statement: {statement}")

    def fetchone(self) -> tuple[Any, ...] | None:
        return self._answer[0] if self._answer else None

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._answer


def make_log_workspace(folder: Path, warehouse: Any = None) -> Workspace:
    """A workspace whose buckets are folders, and whose warehouse holds the tables of the log alone."""
    settings = Settings(
        mlflow_url="http://127.0.0.1:9",
        mlflow_username="trainer",
        mlflow_password=SecretStr("not used"),
        s3_endpoint_url="http://127.0.0.1:9",
        s3_access_key="not used",
        s3_secret_key=SecretStr("not used"),
        datasets_uri=str(folder / "datasets"),
        predictions_uri=str(folder / "predictions"),
        prediction_log_dir=folder / "volume",
    )
    found = warehouse or LogWarehouse()
    return Workspace(settings, connect_warehouse=lambda _: found)
