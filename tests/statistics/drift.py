"""Simulated windows: how often clean ones are called drifted, and how soon a shift is found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ml_code.monitoring.drift.alarm import LOOKED_AT, NEEDED
from ml_code.monitoring.drift.judging import judge
from tests.drift_rows import draw_cells, draw_mixing, make_log, make_reference

WINDOWS = 20
"""Windows of a series; all of them share one reference, as in a stack."""


@dataclass(frozen=True, slots=True)
class Case:
    """Sizes of a simulation; `shift` moves the first feature, in standard deviations."""

    reference: int
    window: int
    columns: int
    shift: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Shares: of windows that are not clean, of series with an alarm, and of those with one in five windows."""

    windows: float
    series: float
    within_five: float


def simulate(case: Case, series: int, seed: int = 0, windows: int = WINDOWS) -> Outcome:
    """Judges series of windows, each with a reference and a correlation of its own."""
    drifted = np.array(
        [_judge_series(case, np.random.default_rng([seed, number]), windows) for number in range(series)]
    )
    alarms = np.array([[_is_alarm(one[: place + 1]) for place in range(windows)] for one in drifted])
    return Outcome(drifted.mean(), alarms.any(axis=1).mean(), alarms[:, :5].any(axis=1).mean())


def _judge_series(case: Case, random: np.random.Generator, windows: int) -> list[bool]:
    mixing = draw_mixing(random, case.columns)
    reference = make_reference(draw_cells(random, case.reference, case.columns, mixing))
    found = []
    for number in range(windows):
        cells = draw_cells(random, case.window, case.columns, mixing)
        cells["f0"] = cells["f0"] + case.shift
        found.append(judge(reference, make_log(cells), {}, seed=number).verdict != "clean")
    return found


def _is_alarm(verdicts: np.ndarray) -> bool:
    return bool(verdicts[-1] and verdicts[-LOOKED_AT:].sum() >= NEEDED)
