from __future__ import annotations

import math

import pytest

from ml_code.dataset_rules import Metric
from ml_code.gate.evidence import LEAST_ROWS, count_effective_rows, count_needed_rows, widen_margin


def test_one_try_needs_one_standard_error() -> None:
    assert widen_margin(1) == pytest.approx(1.0)


@pytest.mark.parametrize("tries", [2, 5, 30])
def test_all_tries_together_pass_by_chance_as_often_as_one(tries: int) -> None:
    """Each of them is passed by chance with 1 - Φ(margin)."""

    def pass_by_chance(margin: float) -> float:
        return 0.5 * math.erfc(margin / math.sqrt(2))

    assert 1 - (1 - pass_by_chance(widen_margin(tries))) ** tries == pytest.approx(pass_by_chance(1.0))


@pytest.mark.parametrize("threshold", [0.8, 0.85, 0.95, 0.99])
def test_the_needed_rows_are_the_fewest_whose_perfect_score_shows_the_threshold(threshold: float) -> None:
    needed = count_needed_rows("accuracy", threshold)
    assert threshold**needed <= 0.05 < threshold ** (needed - 1)


@pytest.mark.parametrize(
    ("metric", "threshold"),
    [("accuracy", 0.07), ("accuracy", 0.0), ("accuracy", -1.0), ("r2", 0.6), ("rmse", 1e6), ("mae", 0.5)],
)
def test_a_low_threshold_and_an_error_need_the_least_rows(metric: Metric, threshold: float) -> None:
    assert count_needed_rows(metric, threshold) == LEAST_ROWS


@pytest.mark.parametrize("threshold", [1.0, 1.5])
def test_a_perfect_threshold_needs_a_finite_number_of_rows(threshold: float) -> None:
    assert count_needed_rows("accuracy", threshold) == count_needed_rows("accuracy", 0.99) == 299


@pytest.mark.parametrize("metric", ["balanced_accuracy", "f1_macro", "average_precision"])
def test_rows_of_a_large_class_do_not_replace_those_of_a_small_one(metric: Metric) -> None:
    assert count_effective_rows(metric, [100, 100, 100]) == pytest.approx(300)
    assert count_effective_rows(metric, [10_000, 2]) == pytest.approx(8, rel=0.01)


def test_every_row_counts_where_classes_do_not() -> None:
    assert count_effective_rows("accuracy", [10_000, 2]) == 10_002
    assert count_effective_rows("rmse", [50]) == 50
