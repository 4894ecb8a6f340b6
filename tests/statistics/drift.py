"""Simulated windows: how often clean ones are called drifted, and how soon a move is found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_code.monitoring.drift.alarm import LOOKED_AT, NEEDED
from ml_code.monitoring.drift.judging import Judgement, judge
from tests.drift_rows import draw_mixing, make_log, make_reference, shape_cells

WINDOWS = 20
"""Windows of a series; all of them share one reference, as in a stack."""

ROWS_OF_A_USER = 10
BETWEEN_USERS = 0.5
"""Share of the variance that lies between users; the rows of one user resemble each other."""

FIXED_ROWS = 50
"""Rows of a load test, which sends them again and again."""

PLACES = np.array(["Seoul", "Busan", "Daegu", "Jeju", "Ulsan"], dtype=object)
SHARES = np.array([0.4, 0.3, 0.15, 0.1, 0.05])

type Numbers = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Case:
    """Sizes of a simulation, and who sends its windows.

    Args:
        reference: rows of the reference.
        window: rows of each window.
        columns: numeric features.
        traffic: one of `TRAFFIC`.
        shift: standard deviations by which the first feature moves.
        moved_share: share of all rows that the most frequent place loses to the next one; None: no such column.
    """

    reference: int
    window: int
    columns: int
    traffic: str = "strangers"
    shift: float = 0.0
    moved_share: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Shares: of windows that violate, of those without a verdict, of series with an alarm, and with one in five."""

    windows: float
    unjudged: float
    series: float
    within_five: float


@dataclass(frozen=True, slots=True)
class Traffic:
    """Rows before they are mixed and shaped, and the user of each; None: nobody names users."""

    rows: Numbers
    units: list[str | None] | None = None


def simulate(case: Case, series: int, seed: int = 0, windows: int = WINDOWS) -> Outcome:
    """Judges series of windows, each with a reference, a correlation and users of its own."""
    verdicts = [
        [found.verdict for found in _judge_series(case, np.random.default_rng([seed, number]), windows)]
        for number in range(series)
    ]
    return summarize(verdicts)


def summarize(verdicts: list[list[str]]) -> Outcome:
    """The shares of series of verdicts; faults of the data violate too, where there are none."""
    found = np.array(verdicts)
    drifted = np.isin(found, ["drift", "quality"])
    alarms = np.array([[_is_alarm(one[: place + 1]) for place in range(len(one))] for one in drifted])
    within_five = alarms[:, :5].any(axis=1).mean()
    shares = (drifted.mean(), (found == "no verdict").mean(), alarms.any(axis=1).mean(), within_five)
    return Outcome(*map(float, shares))


def _judge_series(case: Case, random: np.random.Generator, windows: int) -> list[Judgement]:
    mixing = draw_mixing(random, case.columns)
    is_coarse = case.traffic == "coarse cells"
    known = _shape(case, random.standard_normal((case.reference, case.columns)), mixing, is_coarse=is_coarse)
    reference = make_reference({**known, **_draw_places(case, random, case.reference, 0.0)})
    send = TRAFFIC[case.traffic](case, random)
    found = []
    for number in range(windows):
        sent = send()
        cells = _shape(case, sent.rows, mixing, is_coarse=is_coarse)
        cells["f0"] = cells["f0"] + case.shift
        cells |= _draw_places(case, random, case.window, case.moved_share or 0.0)
        found.append(judge(reference, make_log(cells, sent.units), {}, seed=number))
    return found


def _shape(case: Case, plain: Numbers, mixing: Numbers, *, is_coarse: bool) -> dict[str, Numbers]:
    """The columns; coarse cells are such that rows repeat often, as in tables of a few small numbers."""
    if is_coarse:
        return {f"f{place}": np.round(plain[:, place]) for place in range(case.columns)}
    return shape_cells(plain, mixing)


def _draw_places(case: Case, random: np.random.Generator, rows: int, moved: float) -> Mapping[str, Numbers]:
    if case.moved_share is None:
        return {}
    return {"place": random.choice(PLACES, rows, p=SHARES + moved * np.array([-1, 1, 0, 0, 0]))}


def _send_strangers(case: Case, random: np.random.Generator) -> Callable[[], Traffic]:
    return lambda: Traffic(random.standard_normal((case.window, case.columns)))


def _send_users(case: Case, random: np.random.Generator) -> Callable[[], Traffic]:
    """The same users in every window, each with some rows."""
    count = case.window // ROWS_OF_A_USER
    habits = random.standard_normal((count, case.columns))

    def send() -> Traffic:
        users = np.repeat(np.arange(count), ROWS_OF_A_USER)
        own = random.standard_normal((len(users), case.columns))
        rows = np.sqrt(BETWEEN_USERS) * habits[users] + np.sqrt(1 - BETWEEN_USERS) * own
        return Traffic(rows, [f"user {user}" for user in users])

    return send


def _send_heavy_user(case: Case, random: np.random.Generator) -> Callable[[], Traffic]:
    """One user, far from the others, sends half of the rows; the others send one row each."""
    habit = random.standard_normal(case.columns) * 2

    def send() -> Traffic:
        rows = random.standard_normal((case.window, case.columns))
        heavy = case.window // 2
        rows[:heavy] = habit + 0.1 * rows[:heavy]
        return Traffic(rows, ["heavy"] * heavy + [f"user {number}" for number in range(case.window - heavy)])

    return send


def _send_fixed_rows(case: Case, random: np.random.Generator) -> Callable[[], Traffic]:
    """A load test alone: it draws from the same rows in every window."""
    fixed = random.standard_normal((FIXED_ROWS, case.columns))
    return lambda: Traffic(fixed[random.integers(0, FIXED_ROWS, case.window)])


def _send_half_fixed_rows(case: Case, random: np.random.Generator) -> Callable[[], Traffic]:
    """A load test makes half of the rows."""
    fixed = random.standard_normal((FIXED_ROWS, case.columns))

    def send() -> Traffic:
        rows = random.standard_normal((case.window, case.columns))
        rows[::2] = fixed[random.integers(0, FIXED_ROWS, len(rows[::2]))]
        return Traffic(rows)

    return send


TRAFFIC: Mapping[str, Callable[[Case, np.random.Generator], Callable[[], Traffic]]] = {
    "strangers": _send_strangers,
    "coarse cells": _send_strangers,
    "users with ten rows": _send_users,
    "a user who is half": _send_heavy_user,
    "fifty rows alone": _send_fixed_rows,
    "fifty rows are half": _send_half_fixed_rows,
}


def _is_alarm(verdicts: Numbers) -> bool:
    return bool(verdicts[-1] and verdicts[-LOOKED_AT:].sum() >= NEEDED)
