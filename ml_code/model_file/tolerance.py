"""How far two numbers of one model may differ and count as equal."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ml_code.model_file.spec import Value

LEAST_SPREAD = 1e-9
"""Relative range up to which values are equal within rounding."""


def find_scale(values: npt.ArrayLike) -> float:
    """The unit in which absolute differences count, at most 1: the standard deviation of a regression's values.

    Values of 0.0001 would all be equal within a thousandth of 1. Values without spread, except for rounding, have the
    unit 1.
    """
    numbers = np.asarray(values, dtype=np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if not numbers.size or np.ptp(numbers) <= LEAST_SPREAD * np.abs(numbers).max():
        return 1.0
    return min(1.0, float(np.std(numbers)))


def are_close(
    expected: npt.NDArray[np.floating], found: npt.NDArray[np.floating], tolerance: float, scale: float = 1.0
) -> npt.NDArray[np.bool_]:
    """Whether each pair differs by at most the tolerance, absolute in units of the scale plus relative."""
    return np.asarray(np.abs(expected - found) <= tolerance * scale + tolerance * np.abs(expected))


def is_same(expected: Value, found: Value, tolerance: float, scale: float = 1.0) -> bool:
    """Whether two values are equal: texts and gaps exactly, numbers within the tolerance."""
    if isinstance(expected, str) or isinstance(found, str):
        return expected == found
    if expected is None or found is None:
        return expected is found
    return abs(expected - found) <= tolerance * scale + tolerance * abs(expected)
