"""How far two versions predict alike for the same rows, without any label; pure: predictions in, figures out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_code.model_file.tolerance import find_scale
from ml_code.monitoring.drift.columns import Column
from ml_code.monitoring.drift.comparison import compare
from serving.comparison.replays import TOLERANCE


@dataclass(frozen=True, slots=True)
class Predictions:
    """What one version predicted for some rows.

    Args:
        values: shape (rows,), labels as text or numbers.
        scores: shape (rows,), the probability of each row's predicted class; NaN where a version has none.
    """

    values: NDArray[Any]
    scores: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Agreement:
    """The share of rows that both versions predict alike, and how far the scores' distribution has moved.

    `psi` is the population stability index of the scores, or of the numbers that a regression predicts; None where
    the champion's are all the same.
    """

    rows: int
    alike: float
    psi: float | None

    def describe(self) -> Mapping[str, Any]:
        """The figures as they are stored and shown."""
        return {
            "rows": self.rows,
            "alike": round(self.alike, 5),
            "psi": None if self.psi is None else round(self.psi, 5),
        }


def measure_agreement(champion: Predictions, shadow: Predictions) -> Agreement | None:
    """Compares the predictions of the same rows in the same order; None without a row."""
    rows = len(champion.values)
    if not rows:
        return None
    are_numbers = champion.values.dtype.kind == "f" and shadow.values.dtype.kind == "f"
    if are_numbers:
        absolute = TOLERANCE * find_scale(champion.values)
        same = np.isclose(shadow.values, champion.values, rtol=TOLERANCE, atol=absolute, equal_nan=True)
    else:
        same = champion.values == shadow.values
    sides = [one.values if are_numbers else one.scores for one in (champion, shadow)]
    return Agreement(rows, float(same.mean()), _measure_psi(*sides))


def _measure_psi(champion: NDArray[Any], shadow: NDArray[Any]) -> float | None:
    before, now = (Column("numeric", side.astype(np.float32)) for side in (champion, shadow))
    found = compare("score", "score", before, now, np.random.default_rng(0))
    return None if isinstance(found, str) else found.psi
