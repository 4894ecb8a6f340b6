"""The measured staleness: the table `staleness` of the warehouse, whose rows are never changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ml_code.warehouse import Warehouse
from ml_code.workspace import Workspace

COLUMNS = (
    "model, window_end, version, is_champion, age_days, metric, score, low, high, rows, rows_since, problem, page_uri"
)
INSERT = (
    f"INSERT INTO warehouse.staleness ({COLUMNS}) VALUES ({', '.join(['%s'] * 13)}) "  # noqa: S608  names of columns
    "ON CONFLICT DO NOTHING"
)
SELECT = (
    f"SELECT {COLUMNS} FROM warehouse.staleness WHERE model = %s AND window_end = "  # noqa: S608  names of columns
    "(SELECT max(window_end) FROM warehouse.staleness WHERE model = %s) "
    "ORDER BY is_champion DESC, age_days NULLS LAST, version"
)


@dataclass(frozen=True, slots=True)
class StaleVersion:
    """One row: a version on the labelled answers up to the end of a window; `problem` tells why it has no score."""

    model: str
    window_end: datetime
    version: str
    is_champion: bool
    age_days: float | None
    metric: str
    score: float | None
    low: float | None
    high: float | None
    rows: int
    rows_since: datetime
    problem: str | None
    page_uri: str


def record_versions(warehouse: Warehouse, versions: Sequence[StaleVersion]) -> None:
    """Adds the versions of one window in one transaction; a window that was measured before stays as it is.

    Raises:
        WarehouseError: the warehouse cannot be reached.
    """
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        for found in versions:
            values = [getattr(found, name) for name in COLUMNS.split(", ")]
            cursor.execute(INSERT, [None if _is_nan(value) else value for value in values])


def read_versions(workspace: Workspace, model: str) -> list[StaleVersion]:
    """The versions of the last measured window, the champion first; none before the first measurement.

    Raises:
        WarehouseError: the warehouse cannot be reached.
    """
    with workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(SELECT, (model, model))
        return [StaleVersion(*row) for row in cursor.fetchall()]


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
