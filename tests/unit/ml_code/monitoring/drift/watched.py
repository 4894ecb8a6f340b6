"""A model whose windows are watched, with warehouse and MLflow as fakes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from ml_code.monitoring.drift import watching
from ml_code.monitoring.drift.history import read_windows
from ml_code.monitoring.drift.watching import watch_model
from ml_code.tracking import RunRecord, VersionRecord
from ml_code.workspace import Workspace
from tests.drift_rows import make_reference
from tests.log_rows import IRIS, make_rows, write_log
from tests.offline_settings import make_offline_settings

DAY = datetime(2026, 11, 20, tzinfo=UTC)


NAMES = IRIS.features


class FakeWarehouse:
    """The table of windows, and up to when the log is complete."""

    def __init__(self) -> None:
        self.rows: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        self.began_at: datetime | None = None
        self._found: list[Any] = []

    @contextmanager
    def transaction(self) -> Iterator[FakeWarehouse]:
        yield self

    @contextmanager
    def cursor(self) -> Iterator[FakeWarehouse]:
        yield self

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> None:
        if "prediction_collection" in statement:
            self._found = [(self.began_at,)] if self.began_at or "max(" in statement else []
        elif "INSERT" in statement:
            self.rows.setdefault(values[:3], values)
        else:
            model, version, limit = values
            rows = sorted(
                (row for key, row in self.rows.items() if key[:2] == (model, version)), key=lambda row: row[2]
            )
            self._found = [(*row[2:7], json.loads(row[7]), row[8]) for row in reversed(rows)][:limit]

    def fetchone(self) -> Any:
        return self._found[0] if self._found else None

    def fetchall(self) -> Any:
        return self._found


class FakeTracker:
    """One champion, whose run has the reference."""

    def __init__(self, reference: bytes | None) -> None:
        self.reference, self.champion, self.pages = reference, "3", {}  # type: ignore[var-annotated]

    def read_aliases(self, name: str) -> dict[str, str]:
        return {"champion": self.champion} if name == "iris" else {}

    def read_version(self, name: str, version: str) -> VersionRecord:
        return VersionRecord(name, version, "run", {})

    def read_run(self, run_id: str) -> RunRecord:
        return RunRecord(run_id, "FINISHED", {}, {}, {"holdout_id": "unknown"})

    def read_reference(self, run: RunRecord) -> bytes | None:
        return self.reference

    def log_page(self, run_id: str, path: str, content: bytes) -> None:
        self.pages[path] = content


class Watched:
    """Iris with its log: each day has its rows."""

    def __init__(self, folder: Path) -> None:
        self.random = np.random.default_rng(5)
        cells = dict(zip(NAMES, self.draw(600).T, strict=True))
        self.tracker = FakeTracker(make_reference(cells, prediction=self.answer(600)).render())
        self.warehouse = FakeWarehouse()
        settings = make_offline_settings(folder / "datasets", predictions_uri=str(folder / "predictions"))
        self.workspace = Workspace(
            settings,
            connect_tracker=lambda _: self.tracker,  # type: ignore[arg-type, return-value]
            connect_warehouse=lambda _: self.warehouse,  # type: ignore[arg-type, return-value]
        )
        self.days = 0

    def draw(self, rows: int, shift: float = 0.0) -> Any:
        return self.random.normal([3 + shift, 3, 3, 3], 0.5, (rows, 4))

    def answer(self, rows: int) -> list[str]:
        return [str(label) for label in self.random.integers(0, 3, rows)]

    def live(self, rows: int, shift: float = 0.0, head: Any = IRIS) -> None:
        """One day of traffic, all of it collected."""
        cells = self.draw(rows, shift).tolist()
        logged = make_rows(cells, self.answer(rows), start=DAY + timedelta(days=self.days, hours=3))
        write_log(self.workspace, head, logged, name=f"20261121T000000.{self.days:06}Z-0")
        self.pass_day()

    def pass_day(self) -> None:
        self.days += 1
        self.warehouse.began_at = DAY + timedelta(days=self.days, minutes=2)

    def watch(self) -> watching.Watched:
        return watch_model(self.workspace, "iris")

    def list_verdicts(self) -> list[str]:
        return [found.verdict for found in reversed(read_windows(self.workspace, "iris", "3", 50))]
