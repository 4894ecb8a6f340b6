"""The tables that a retraining reads and writes, in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from ml_code.monitoring.retraining.attempts import COLUMNS

NAMES = COLUMNS.split(", ")


class RetrainingWarehouse:
    """Attempts, judged windows, rollouts, and moves of tokens of labels; other tables are empty."""

    def __init__(self) -> None:
        self.attempts: list[dict[str, Any]] = []
        self.windows: list[tuple[Any, ...]] = []
        self.rollout: tuple[str, str] | None = None
        self.verdicts: dict[str, str] = {}
        self.tokens: list[tuple[str, str, datetime]] = []
        self.rowcount = 0
        self._found: list[tuple[Any, ...]] = []

    @contextmanager
    def transaction(self) -> Iterator[RetrainingWarehouse]:
        yield self

    @contextmanager
    def cursor(self) -> Iterator[RetrainingWarehouse]:
        yield self

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> None:
        self._found = []
        if "warehouse.retraining" in statement:
            self._retraining(statement, values)
        elif "verdict = %s" in statement:
            _, verdict, start, end = values
            self._found = [row[:2] for row in self.windows if row[2] == verdict and row[1] > start and row[0] < end]
        elif "warehouse.drift_window" in statement:
            self._found = self.windows
        elif "warehouse.label_token" in statement:
            self._found = list(self.tokens)
        elif "is_verdict" in statement:
            self._found = list(self.verdicts.items())
        elif "warehouse.rollout" in statement:
            self._found = [self.rollout] if self.rollout else []

    def fetchone(self) -> tuple[Any, ...] | None:
        return self._found[0] if self._found else None

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._found

    def _retraining(self, statement: str, values: tuple[Any, ...]) -> None:
        active = [row for row in self.attempts if row["ended_at"] is None]
        if statement.startswith("INSERT"):
            if not active:
                given = dict(
                    zip(("model", "owner", "cause", "reason", "since", "until", "labels"), values, strict=True)
                )
                fresh = {"retraining_id": len(self.attempts) + 1, "asked_at": datetime.now(UTC)}
                self.attempts.append(dict.fromkeys(NAMES) | given | fresh)
        elif statement.startswith("UPDATE"):
            self._update(statement, values, active)
        elif "WHERE owner" in statement:
            self._show([row for row in self.attempts if row["owner"] == values[0]])
        else:
            self._show(active if "ended_at IS NULL" in statement else self.attempts[-1:])

    def _update(self, statement: str, values: tuple[Any, ...], active: list[dict[str, Any]]) -> None:
        self.rowcount = len(active)
        for row in active:
            if "rows_file" in statement:
                row["rows_file"] = values[0]
                continue
            row["outcome"], row["version"] = values[0], values[1] or row["version"]
            row["ended_at"] = None if values[0] == "held" else datetime.now(UTC)

    def _show(self, rows: list[dict[str, Any]]) -> None:
        self._found = [tuple(row[name] for name in NAMES) for row in rows]
