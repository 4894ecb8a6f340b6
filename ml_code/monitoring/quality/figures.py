"""The figures of one version's answers in one window: of all rows, and of each slice of the gate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ml_code.datasets import Dataset
from ml_code.errors import GateError
from ml_code.gate.evaluation import is_measurable
from ml_code.monitoring.quality.answered import Answered, drop_unreadable, pair_answers
from ml_code.monitoring.quality.holdout import Reference
from ml_code.monitoring.quality.intervals import Estimate, estimate_score

ALL_ROWS = ""
"""Name of the figure that is not of a slice."""


@dataclass(frozen=True, slots=True)
class Figure:
    """Quality of a part of the answers; `score` is None without a label, or where the metric cannot be measured.

    `estimated_accuracy` needs no label. It assumes that the labels' rule has not changed since the holdout.
    """

    part: str
    rows: int
    labelled: int
    coverage: float
    score: Estimate | None
    estimated_accuracy: float | None = None


def measure_answers(dataset: Dataset, answered: Answered, reference: Reference) -> list[Figure]:
    """Measures all rows first, then each slice of the holdout that has rows."""
    readable = drop_unreadable(dataset, answered)
    figures = [_measure(dataset, ALL_ROWS, readable, reference)]
    for cut in reference.cuts:
        if cut.feature not in readable.features.columns:
            continue
        if (mask := cut.find(readable.features[cut.feature])).any():
            figures.append(_measure(dataset, f"{cut.feature} {cut.part}", readable.select(mask), reference))
    return figures


def _measure(dataset: Dataset, part: str, answered: Answered, reference: Reference) -> Figure:
    labelled = answered.select(answered.is_labelled)
    return Figure(
        part,
        len(answered.rows),
        len(labelled.rows),
        answered.coverage,
        _measure_labelled(dataset, labelled, reference.rarer) if len(labelled.rows) else None,
        _estimate_accuracy(answered, reference),
    )


def _measure_labelled(dataset: Dataset, labelled: Answered, rarer: str | None) -> Estimate | None:
    answers = pair_answers(dataset, labelled, rarer)
    if not is_measurable(dataset.gate.metric, answers, labelled.weights):
        return None
    try:
        found = estimate_score(dataset.gate.metric, answers, labelled.weights, labelled.number_users())
    except GateError:  # average precision without probabilities in the log
        return None
    return found if math.isfinite(found.score) else None


def _estimate_accuracy(answered: Answered, reference: Reference) -> float | None:
    """The mean of the calibrated confidence."""
    scores = answered.rows["score"].to_numpy(dtype=np.float64)
    is_known = ~np.isnan(scores)
    if reference.calibration is None or not is_known.any():
        return None
    return float(np.average(reference.calibration(scores[is_known]), weights=answered.weights[is_known]))
