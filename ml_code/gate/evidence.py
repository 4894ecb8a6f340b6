"""What the gate decides by: measured scores, how large a difference must be, how many rows a threshold needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from ml_code.dataset_rules import Metric

LEAST_ROWS = 10
"""Fewer rows, or groups of rows, say too little about their own spread, which every margin is made of."""

DOUBT = 0.05
"""Accepted probability that a model below the threshold is right on every row."""

HIGHEST_THRESHOLD = 0.99
"""A threshold above it needs no more rows: 1.0 would need infinitely many."""

QUOTED = 200
"""Most characters of a message that another program or a table wrote."""

SHARES: frozenset[Metric] = frozenset({"accuracy", "balanced_accuracy", "f1_macro", "average_precision"})
BY_CLASS: frozenset[Metric] = SHARES - {"accuracy"}
"""Metrics in which each class weighs the same, however few its rows are."""


@dataclass(frozen=True, slots=True)
class Rival:
    """Another model on the same rows; the difference is positive if the challenger is better.

    `standard_error` is the bootstrap standard error of the difference.
    """

    score: float
    difference: float
    standard_error: float


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of the holdout, and the gate's metric on it."""

    feature: str
    part: str
    rows: int
    score: float

    @property
    def name(self) -> str:
        """Feature and part, such as `Sex = male`."""
        return f"{self.feature} {self.part}"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was measured of a challenger on the holdout.

    `effective_rows` are those that tell about the metric, None for all. `holdout_groups` is the number of groups. A row
    without a group counts as one, and a dataset without groups has None. `tries` counts the different models judged on
    this snapshot, this one among them. `low_slice` is the worst slice. `unseen_classes` have no row.
    """

    score: float
    holdout_rows: int
    dummy: Rival
    linear_score: float | None = None
    effective_rows: float | None = None
    holdout_groups: int | None = None
    tries: int = 1
    low_slice: Slice | None = None
    unseen_classes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """Champion and challenger on the same holdout.

    `difference` is positive if the challenger is better; `standard_error` is its bootstrap standard error. `problem`
    is the reason why the two do not compare; then the numbers are None. `schema_change` says what clients would notice.
    `best` is the best earlier champion on this holdout, if it is better than the present one.
    """

    champion_version: str
    champion_score: float | None = None
    difference: float | None = None
    standard_error: float | None = None
    has_seen_data: bool = False
    schema_change: str | None = None
    problem: str | None = None
    best_version: str | None = None
    best: Rival | None = None


def widen_margin(tries: int) -> float:
    """Standard errors by which the last of several tries on the same rows must be better; 1 for a single try.

    The tries share the error level of a single one
    (Z. Šidák, "Rectangular confidence regions for the means of multivariate normal distributions", 1967,
    doi:10.1080/01621459.1967.10482935).

    >>> [round(widen_margin(tries), 2) for tries in (1, 2, 10)]
    [1.0, 1.39, 2.12]
    """
    normal = NormalDist()
    return normal.inv_cdf(normal.cdf(1.0) ** (1 / tries))


def count_needed_rows(metric: Metric, threshold: float) -> int:
    """Fewest holdout rows that can tell whether a model reaches the threshold.

    Of n rows, a model that is right in a share t is right in all with the probability t**n. So with fewer than
    log(0.05) / log(t) rows even a perfect score does not show t (C. J. Clopper and E. S. Pearson, "The use of
    confidence or fiducial limits", 1934, doi:10.1093/biomet/26.4.404). Errors and r2 have no such bound.

    >>> count_needed_rows("accuracy", 0.85)
    19
    """
    if metric not in SHARES or threshold <= 0:
        return LEAST_ROWS
    return max(LEAST_ROWS, math.ceil(math.log(DOUBT) / math.log(min(threshold, HIGHEST_THRESHOLD))))


def count_effective_rows(metric: Metric, class_rows: Sequence[int]) -> float:
    """Number of rows that tell as much about the metric as equally large classes would.

    The mean of k class shares varies as 1/k² of the sum of 1/n over the classes' rows n; k classes of equal size vary
    as 1/n of all rows.

    >>> round(count_effective_rows("balanced_accuracy", [235, 5]), 1)
    19.6
    """
    if metric not in BY_CLASS:
        return float(sum(class_rows))
    return len(class_rows) ** 2 / sum(1 / rows for rows in class_rows)


def show_names(names: Sequence[str]) -> str:
    """Names for a message, shortened if they are long."""
    text = ", ".join(names)
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}... ({len(names)} names)"
