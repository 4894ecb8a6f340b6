"""Whether fewer labels come than usual: a figure of few labelled rows says little, and nobody may have noticed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml_code.monitoring.quality.intervals import find_wilson
from ml_code.monitoring.quality.windows import Window

LEAST_ROWS = 50
"""Of a window that counts."""

LEAST_WINDOWS = 3
"""Earlier windows from which the usual coverage is known."""

FALL = 0.5
"""Share of the usual coverage below which it has fallen."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The answered rows of a window, and when their labels came (milliseconds since 1970)."""

    window: Window
    rows: int
    received_ms: npt.NDArray[np.int64]

    def find_coverage(self, age_ms: float) -> float:
        """The coverage at an age of the window."""
        return float(np.sum(self.received_ms <= _to_ms(self.window) + age_ms)) / self.rows


@dataclass(frozen=True, slots=True)
class Fall:
    """A window whose coverage is less than half of what earlier windows had at its age."""

    window: Window
    coverage: float
    usual: float


def find_falls(arrivals: Sequence[Arrivals], now_ms: float) -> list[Fall]:
    """Compares each window with the median of those before it, all at the same age: labels come late in each of them.

    A fall is more than chance: the upper end of the interval of the coverage is below half of the usual one.
    """
    counting = [window for window in arrivals if window.rows >= LEAST_ROWS]
    falls = []
    for number, newest in enumerate(counting):
        earlier = counting[:number]
        if len(earlier) < LEAST_WINDOWS:
            continue
        age_ms = now_ms - _to_ms(newest.window)
        usual = float(np.median([window.find_coverage(age_ms) for window in earlier]))
        coverage = newest.find_coverage(age_ms)
        if find_wilson(min(coverage, 1.0), newest.rows)[1] < FALL * usual:
            falls.append(Fall(newest.window, coverage, usual))
    return falls


def _to_ms(window: Window) -> float:
    return window.end.timestamp() * 1000
