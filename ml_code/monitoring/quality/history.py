"""The measured quality of live answers: the table `live_metric` of the warehouse."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ml_code.monitoring.quality.figures import ALL_ROWS, Figure
from ml_code.monitoring.quality.intervals import Estimate
from ml_code.monitoring.quality.windows import Window
from ml_code.warehouse import Warehouse
from ml_code.workspace import Workspace

WRITTEN = (
    "model, version, variant, window_start, window_end, slice, metric, score, low, high, rows, labelled, coverage, "
    "holdout, holdout_low, holdout_high, estimated_accuracy, labels_digest"
)
READ = f"{WRITTEN}, has_few_labels, computed_at"
"""The columns in the order of the fields of `LiveMetric`."""


@dataclass(frozen=True, slots=True)
class LiveMetric:
    """One row of the table: a part of the answers of one version, variant and window; `slice` is empty for all rows."""

    model: str
    version: str
    variant: str
    window_start: datetime
    window_end: datetime
    slice: str
    metric: str
    score: float | None
    low: float | None
    high: float | None
    rows: int
    labelled: int
    coverage: float
    holdout: float | None
    holdout_low: float | None
    holdout_high: float | None
    estimated_accuracy: float | None
    labels_digest: str
    has_few_labels: bool = False
    computed_at: datetime | None = None

    @property
    def estimate(self) -> Estimate | None:
        """The live score with its interval; None if the window has no score, or no interval."""
        if self.score is None or self.low is None or self.high is None:
            return None
        return Estimate(self.score, self.low, self.high)


@dataclass(frozen=True, slots=True)
class Measured:
    """What is stored of a window: which labels were known, and how many rows were answered."""

    labels_digest: str
    rows: int
    has_few_labels: bool


def make_row(
    names: tuple[str, str, str], window: Window, figure: Figure, *, metric: str, holdout: Estimate | None, digest: str
) -> LiveMetric:
    """The row of one figure.

    Args:
        names: the model, its version, and the variant as which it answered.
        window: the window.
        figure: the figure.
        metric: the gate's metric.
        holdout: the score of the version on its holdout; it stands beside the figure of all rows only.
        digest: of the window's labels.
    """
    model, version, variant = names
    score = figure.score or Estimate(math.nan, math.nan, math.nan)
    beside = holdout if holdout and figure.part == ALL_ROWS else None
    return LiveMetric(
        model,
        version,
        variant,
        window.start,
        window.end,
        figure.part,
        metric,
        score=_or_none(score.score),
        low=_or_none(score.low),
        high=_or_none(score.high),
        rows=figure.rows,
        labelled=figure.labelled,
        coverage=figure.coverage,
        holdout=beside.score if beside else None,
        holdout_low=beside.low if beside else None,
        holdout_high=beside.high if beside else None,
        estimated_accuracy=figure.estimated_accuracy,
        labels_digest=digest,
    )


def write_window(warehouse: Warehouse, model: str, window: Window, rows: Sequence[LiveMetric]) -> None:
    """Replaces the figures of a window in one transaction; the same rows again change nothing but their time.

    Raises:
        WarehouseError: the database cannot be reached.
    """
    names = WRITTEN.split(", ")
    changed = ", ".join(f"{name} = EXCLUDED.{name}" for name in names[6:])
    insert = (  # only names of columns are put in
        f"INSERT INTO warehouse.live_metric ({WRITTEN}) VALUES ({', '.join(['%s'] * len(names))}) "  # noqa: S608
        "ON CONFLICT (model, window_end, window_start, version, variant, slice) "
        f"DO UPDATE SET {changed}, computed_at = clock_timestamp()"
    )
    key = (model, window.end, window.start)
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM warehouse.live_metric WHERE (model, window_end, window_start) = (%s, %s, %s)", key)
        for row in rows:
            cursor.execute(insert, [getattr(row, name) for name in names])


def read_measured(warehouse: Warehouse, model: str, earliest: datetime) -> dict[Window, Measured]:
    """Reads the windows that were measured and end after a time.

    Raises:
        WarehouseError: the database cannot be reached.
    """
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT window_start, window_end, max(labels_digest), sum(rows) FILTER (WHERE variant <> 'shadow'), "
            "bool_or(has_few_labels) FROM warehouse.live_metric WHERE model = %s AND slice = '' AND window_end > %s "
            "GROUP BY window_start, window_end",
            (model, earliest),
        )
        found = cursor.fetchall()
    return {Window(start, end): Measured(digest, int(rows or 0), few) for start, end, digest, rows, few in found}


def mark_few_labels(warehouse: Warehouse, model: str, windows: Mapping[Window, bool]) -> None:
    """Stores of which windows the coverage has fallen.

    Raises:
        WarehouseError: the database cannot be reached.
    """
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        for window, has_few in windows.items():
            cursor.execute(
                "UPDATE warehouse.live_metric SET has_few_labels = %s "
                "WHERE (model, window_end, window_start, slice) = (%s, %s, %s, '')",
                (has_few, model, window.end, window.start),
            )


def read_history(workspace: Workspace, model: str, *, windows: int = 30, is_sliced: bool = False) -> list[LiveMetric]:
    """Reads the newest windows of a model, the newest first; without the slices unless `is_sliced`.

    Raises:
        SettingsError: the settings name no warehouse.
        WarehouseError: the database cannot be reached.
    """
    with workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {READ} FROM warehouse.live_metric WHERE model = %s AND (slice = '' OR %s) "  # noqa: S608
            "AND window_end IN (SELECT DISTINCT window_end FROM warehouse.live_metric WHERE model = %s "
            "ORDER BY window_end DESC LIMIT %s) ORDER BY window_end DESC, version DESC, variant, slice",
            (model, is_sliced, model, windows),
        )
        return [LiveMetric(*row) for row in cursor.fetchall()]


def read_newest(workspace: Workspace, model: str) -> list[LiveMetric]:
    """Reads the newest window of a model that has a label: one row for each version and variant.

    Raises:
        SettingsError: the settings name no warehouse.
        WarehouseError: the database cannot be reached.
    """
    labelled = [row for row in read_history(workspace, model) if row.labelled]
    newest = max((row.window_end for row in labelled), default=None)
    return [row for row in labelled if row.window_end == newest]


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
