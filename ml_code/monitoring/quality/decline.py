"""Whether a version answers worse than at its promotion, judged as often as labels come."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ml_code import confidence
from ml_code.dataset_rules import LOWER_IS_BETTER, Gate
from ml_code.monitoring.quality.history import LiveMetric, read_history
from ml_code.monitoring.quality.intervals import Z_QUANTILE
from ml_code.workspace import Workspace

ERROR_SHARE = 0.05
"""Chance of a false decline in the whole life of a version."""

LEAST_LABELS = 50
"""With fewer labelled rows nothing is judged: the interval holds for many rows."""

POOLED_LABELS = 200
"""The newest windows with so many labelled rows together are judged as one."""


MOST_WINDOWS = 1000
"""Windows that are counted as looks: three years of days."""


@dataclass(frozen=True, slots=True)
class Decline:
    """A version whose live score is worse than its holdout's, by more than both may be wrong."""

    model: str
    version: str
    metric: str
    score: float
    margin: float
    holdout: float
    labelled: int
    since: datetime
    until: datetime

    def describe(self) -> str:
        """One sentence for a person."""
        return (
            f"{self.model} version {self.version}: found {self.metric} {self.score:.4g} on {self.labelled} labelled "
            f"rows from {self.since:%Y-%m-%d %H:%M} to {self.until:%Y-%m-%d %H:%M} UTC, "
            f"expected {self.holdout:.4g} as on its holdout, give or take {self.margin:.2g}"
        )


def find_decline(workspace: Workspace, model: str) -> Decline | None:
    """Judges the champion of a model by its newest labelled windows; None if it is as good as at its promotion.

    Raises:
        CatalogError: the catalog has no such model.
        TrackingError: MLflow refuses.
        WarehouseError: the warehouse cannot be reached.
    """
    champion = workspace.tracker.read_aliases(model).get("champion")
    if champion is None:
        return None
    dataset = workspace.load_dataset(workspace.catalog.list_models()[model])
    own = [
        row
        for row in read_history(workspace, model, windows=MOST_WINDOWS)
        if (row.version, row.variant) == (champion, "champion")
    ]
    return judge_decline(dataset.gate, own)


def judge_decline(gate: Gate, rows: Iterable[LiveMetric]) -> Decline | None:
    """Judges the windows of one version and variant.

    The newest windows are pooled. Their score declined if it is worse than the holdout's by more than the gate's
    largest regression, and by more than the margin of error.
    """
    usable = [row for row in rows if row.metric == gate.metric and row.estimate and row.holdout is not None]
    judged = sorted(usable, key=lambda row: row.window_end)
    pooled = _choose_newest(judged)
    labelled = sum(row.labelled for row in pooled)
    if labelled < LEAST_LABELS:
        return None
    newest = pooled[-1]
    score, error = _pool(pooled)
    margin = math.hypot(find_radius(error, labelled, look=len(judged)), Z_QUANTILE * _find_holdout_error(newest))
    holdout = float(newest.holdout or 0.0)
    loss = score - holdout if gate.metric in LOWER_IS_BETTER else holdout - score
    if loss <= max(margin, gate.largest_regression):
        return None
    times = pooled[0].window_start, newest.window_end
    return Decline(newest.model, newest.version, gate.metric, score, margin, holdout, labelled, *times)


def find_radius(standard_error: float, rows: int, *, look: int) -> float:
    """Half of an interval that may be looked at as often as labels come, in the unit of the score.

    It is narrowest at `POOLED_LABELS` rows. Each window spends its own part of the error, 6 / (pi * look)^2, so that
    all of them together stay within it.
    """
    alpha = ERROR_SHARE * 6 / (math.pi * look) ** 2
    return confidence.find_radius(standard_error, rows / POOLED_LABELS, alpha)


def _choose_newest(judged: Sequence[LiveMetric]) -> list[LiveMetric]:
    """The newest windows that have enough labelled rows together, in order; all of them if they have fewer."""
    chosen: list[LiveMetric] = []
    for row in reversed(judged):
        if sum(other.labelled for other in chosen) >= POOLED_LABELS:
            break
        chosen.insert(0, row)
    return chosen


def _pool(rows: Sequence[LiveMetric]) -> tuple[float, float]:
    """Mean of the windows' scores by labelled rows, and its standard error."""
    labelled = sum(row.labelled for row in rows)
    estimates = [(row.labelled / labelled, row.estimate) for row in rows]
    score = sum(share * estimate.score for share, estimate in estimates if estimate)
    error = math.sqrt(sum((share * estimate.standard_error) ** 2 for share, estimate in estimates if estimate))
    return score, error


def _find_holdout_error(row: LiveMetric) -> float:
    """The standard error of the holdout's score; 0 if its run logged no interval."""
    if row.holdout_low is None or row.holdout_high is None:
        return 0.0
    return (row.holdout_high - row.holdout_low) / (2 * Z_QUANTILE)
