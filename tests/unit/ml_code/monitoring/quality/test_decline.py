from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from ml_code.dataset_rules import Gate
from ml_code.monitoring.quality.decline import Decline, find_radius, judge_decline
from ml_code.monitoring.quality.history import LiveMetric
from ml_code.monitoring.quality.intervals import find_wilson

NOON = datetime(2026, 11, 1, tzinfo=UTC)
ACCURACY = Gate(metric="accuracy", threshold=0.5)


def make_day(
    number: int, score: float, labelled: int, *, metric: str = "accuracy", half: float | None = None
) -> LiveMetric:
    low, high = find_wilson(score, labelled) if half is None else (score - half, score + half)
    start = NOON + timedelta(days=number)
    end = start + timedelta(days=1)
    holdout = (0.95, 0.93, 0.97) if metric == "accuracy" else (1.0, 0.95, 1.05)
    return LiveMetric(
        "iris", "3", "champion", start, end, "", metric, score, low, high, labelled, labelled, 1.0,
        *holdout, None, "digest",
    )  # fmt: skip


def judge(days: Sequence[LiveMetric], gate: Gate = ACCURACY) -> Decline | None:
    return judge_decline(gate, days)


def test_a_score_far_below_the_holdouts_is_a_decline() -> None:
    found = judge([make_day(0, 0.94, 200), make_day(1, 0.7, 200)])
    assert found is not None
    assert (found.score, found.holdout, found.labelled) == (0.7, 0.95, 200)
    assert (found.since, found.until) == (NOON + timedelta(days=1), NOON + timedelta(days=2))
    assert "found accuracy 0.7 on 200 labelled rows from 2026-11-02 00:00" in found.describe()


def test_a_better_score_and_one_like_the_holdouts_are_none() -> None:
    assert judge([make_day(0, 1.0, 500)]) is None
    assert judge([make_day(0, 0.94, 500)]) is None


def test_fewer_than_fifty_labels_are_not_judged() -> None:
    assert judge([make_day(0, 0.0, 49)]) is None
    assert judge([make_day(0, 0.0, 50)]) is not None
    assert judge([]) is None


def test_small_windows_are_pooled_until_they_have_two_hundred_labels() -> None:
    found = judge([make_day(number, 0.7, 60) for number in range(9)])
    assert found is not None
    assert found.labelled == 240


def test_a_fall_within_the_largest_regression_is_none_however_sure_it_is() -> None:
    day = replace(make_day(0, 0.935, 1_000_000), holdout_low=0.949, holdout_high=0.951)
    assert judge([day]) is None
    narrow = Gate(metric="accuracy", threshold=0.5, largest_regression=0.0)
    assert judge([make_day(0, 0.92, 1_000_000)], narrow) is not None


def test_the_holdout_may_have_been_lucky() -> None:
    """A holdout of few rows knows its own score badly."""
    day = make_day(0, 0.85, 100_000)
    unsure = LiveMetric(
        **{name: getattr(day, name) for name in day.__slots__} | {"holdout_low": 0.75, "holdout_high": 1.0}
    )
    assert judge([day]) is not None
    assert judge([unsure]) is None


def test_an_error_declines_upwards() -> None:
    gate = Gate(metric="mae", threshold=2.0)
    assert judge([make_day(0, 1.6, 300, metric="mae", half=0.1)], gate) is not None
    assert judge([make_day(0, 0.5, 300, metric="mae", half=0.1)], gate) is None


def test_figures_of_another_metric_do_not_count() -> None:
    assert judge([make_day(0, 0.1, 300, metric="f1_macro")]) is None


def test_a_late_window_needs_more_than_an_early_one() -> None:
    assert find_radius(0.01, 200, look=30) > find_radius(0.01, 200, look=1) > 2 * 0.01


@pytest.mark.parametrize("labels_a_day", [20, 200])
def test_thirty_days_as_good_as_the_holdout_are_hardly_ever_a_decline(labels_a_day: int) -> None:
    """Each day is looked at ten times while its labels come; the holdout is drawn as well."""
    gate, alarms = Gate(metric="accuracy", threshold=0.5, largest_regression=0.0), 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        holdout = random.binomial(500, 0.9) / 500
        known = dict(
            zip(("holdout", "holdout_low", "holdout_high"), (holdout, *find_wilson(holdout, 500)), strict=True)
        )
        alarms += _alarms(random, gate, known, labels_a_day)
    assert alarms <= 5


def _alarms(random: np.random.Generator, gate: Gate, known: dict[str, float], labels_a_day: int) -> bool:
    days: list[LiveMetric] = []
    for number in range(30):
        hits = random.random(labels_a_day) < 0.9
        for part in range(1, 11):
            count = labels_a_day * part // 10
            day = make_day(number, float(np.mean(hits[:count])), count)
            looked = LiveMetric(**{name: getattr(day, name) for name in day.__slots__} | known)
            if judge([*days, looked], gate):
                return True
        days.append(looked)
    return False


def test_fifteen_points_less_are_found_within_three_days_of_two_hundred_labels() -> None:
    found = 0
    for seed in range(50):
        random = np.random.default_rng(seed)
        days = [make_day(number, random.binomial(200, 0.95) / 200, 200) for number in range(5)]
        days += [make_day(number, random.binomial(200, 0.80) / 200, 200) for number in range(5, 8)]
        found += any(judge(days[:count]) for count in (6, 7, 8))
    assert found >= 48
