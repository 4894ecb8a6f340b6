"""Compares two versions by their answers to live rows, once labels tell; pure: losses in, a verdict out.

The interval holds at every look: anybody may look at any time, and labels may come late. Rows of one user are not
independent, so users are counted, not rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ml_code.confidence import find_radius

type Verdict = Literal["better", "worse", "equivalent", "undecided"]

ALPHA = 0.05
"""The share of experiments without a difference that may ever name a winner."""

POWER = 0.8
"""The share of experiments with the planned difference that shall name the winner within the planned rows."""

FEWEST_UNITS = 50
"""Users, or rows without a user, of each version below which the normal approximation says nothing."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What an experiment is planned for, fixed before its first row.

    Args:
        margin: smallest difference of the mean loss that matters; a smaller one counts as equivalent.
        variance: of the loss of one row, as on the holdout.
        share: of the rows that the challenger answers, above 0 and below 1; None where both versions predict each row:
            then the variance is that of the difference of their losses.
    """

    margin: float
    variance: float
    share: float | None

    @property
    def rate(self) -> float:
        """How much one more row adds to the variance of the weighted sum of losses."""
        if self.share is None:
            return self.variance
        return self.variance * (1 / self.share + 1 / (1 - self.share))


@dataclass(frozen=True, slots=True)
class Losses:
    """Losses of rows, and the user of each.

    Args:
        values: shape (rows,), the lower the better: 0 or 1 for a class, the absolute error for a number.
        units: shape (rows,), a number for each user; rows without a user have one each.
    """

    values: NDArray[np.float64]
    units: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What an experiment shows so far; the differences are the challenger's mean loss less the champion's."""

    verdict: Verdict
    difference: float
    low: float
    high: float
    rows: int
    units: int
    rows_needed: int

    @property
    def is_known(self) -> bool:
        """Whether there were enough users for an interval."""
        return math.isfinite(self.low)

    def describe(self) -> Mapping[str, Any]:
        """The figures as they are stored and shown; what is not known yet is None."""
        return {
            "verdict": self.verdict,
            "difference": _round(self.difference),
            "low": _round(self.low),
            "high": _round(self.high),
            "rows": self.rows,
            "units": self.units,
            "rows_needed": self.rows_needed,
        }


def compare(champion: Losses, challenger: Losses, plan: Plan) -> Comparison:
    """Compares two versions that answered different users."""
    rows = len(champion.values) + len(challenger.values)
    fewest = min(_count_units(champion), _count_units(challenger))
    if fewest < FEWEST_UNITS:
        return _without_verdict(rows, fewest, plan)
    difference = float(challenger.values.mean() - champion.values.mean())
    variance = _variance_of_mean(champion) + _variance_of_mean(challenger)
    return _judge(difference, variance, rows, fewest, plan)


def compare_pairs(differences: Losses, plan: Plan, *, step: float) -> Comparison:
    """Compares two versions that predicted the same rows.

    Args:
        differences: the challenger's loss of each row less the champion's.
        plan: without a share.
        step: smallest difference but 0 that a row may have: 1 for a class, 0 for a number.
    """
    rows, units = len(differences.values), _count_units(differences)
    if units < FEWEST_UNITS:
        return _without_verdict(rows, units, plan)
    # Where no row has differed yet, three in as many still may (the rule of three).
    variance = max(_variance_of_mean(differences), 3 * (step / units) ** 2)
    return _judge(float(differences.values.mean()), variance, rows, units, plan)


def estimate_rows(plan: Plan) -> int:
    """The labelled rows after which a difference of the margin is found with the planned power."""
    quantile = NormalDist().inv_cdf(POWER)
    rows = 1.0
    # The radius falls with the root of the rows, but for a logarithm: a few rounds are enough.
    for _ in range(50):
        radius = find_radius(math.sqrt(plan.rate / rows), 1.0, ALPHA)
        needed = ((radius * math.sqrt(rows) + quantile * math.sqrt(plan.rate)) / plan.margin) ** 2
        if abs(needed - rows) < 1:
            break
        rows = needed
    return math.ceil(rows)


def _judge(difference: float, variance: float, rows: int, units: int, plan: Plan) -> Comparison:
    needed = estimate_rows(plan)
    radius = find_radius(math.sqrt(variance), rows * rows * variance / (needed * plan.rate), ALPHA) if variance else 0.0
    low, high = difference - radius, difference + radius
    verdict: Verdict = "undecided"
    if high < 0:
        verdict = "better"
    elif low > 0:
        verdict = "worse"
    elif -plan.margin < low and high < plan.margin:
        verdict = "equivalent"
    return Comparison(verdict, difference, low, high, rows, units, needed)


def _without_verdict(rows: int, units: int, plan: Plan) -> Comparison:
    return Comparison("undecided", math.nan, -math.inf, math.inf, rows, units, estimate_rows(plan))


def _count_units(losses: Losses) -> int:
    return len(np.unique(losses.units))


def _variance_of_mean(losses: Losses) -> float:
    """Variance of the mean loss by the spread of users' sums of residuals."""
    _, positions = np.unique(losses.units, return_inverse=True)
    sums = np.bincount(positions, weights=losses.values - losses.values.mean())
    count = len(sums)
    return float(np.sum(sums**2)) / len(losses.values) ** 2 * count / (count - 1)


def _round(value: float) -> float | None:
    return round(value, 5) if math.isfinite(value) else None
