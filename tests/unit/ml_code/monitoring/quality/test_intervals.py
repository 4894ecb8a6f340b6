from __future__ import annotations

import math

import numpy as np
import pytest

from ml_code.gate.evaluation import Answers, Clusters, number_clusters
from ml_code.monitoring.quality.intervals import Estimate, count_effective_rows, estimate_score, find_wilson

RUNS = 200


def estimate(metric: str, answers: Answers, clusters: Clusters | None = None) -> Estimate:
    rows = len(answers.truth)
    return estimate_score(metric, answers, np.ones(rows), np.arange(rows) if clusters is None else clusters)  # type: ignore[arg-type]


def draw_labels(random: np.random.Generator, rows: int, right: float = 0.9) -> Answers:
    """Three classes, of which the third is rare, answered right in nine of ten rows."""
    truth = random.choice(3, rows, p=[0.5, 0.35, 0.15])
    return Answers(truth, np.where(random.random(rows) < right, truth, (truth + 1) % 3))


def draw_values(random: np.random.Generator, rows: int) -> Answers:
    truth = random.normal(0, 1, rows)
    return Answers(truth, truth + random.normal(0, 0.5, rows))


def test_wilsons_interval_is_that_of_the_textbook() -> None:
    """R. Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I: 15 of 148."""
    assert find_wilson(15 / 148, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)


def test_ninety_of_a_hundred_right_answers_have_a_known_interval() -> None:
    truth = np.zeros(100, dtype=np.int64)
    found = estimate("accuracy", Answers(truth, (np.arange(100) < 10).astype(np.int64)))
    assert (found.score, found.low, found.high) == pytest.approx((0.9, 0.826, 0.945), abs=2e-3)


@pytest.mark.parametrize(
    ("metric", "rows", "true"),
    [("accuracy", 60, 0.9), ("accuracy", 2000, 0.9), ("mae", 100, None), ("rmse", 2000, 0.5), ("r2", 2000, 0.75)],
)
def test_an_interval_covers_the_true_score_as_often_as_it_says(metric: str, rows: int, true: float | None) -> None:
    true = 0.5 * math.sqrt(2 / math.pi) if true is None else true
    draw = draw_labels if metric == "accuracy" else draw_values
    found = [estimate(metric, draw(np.random.default_rng(seed), rows)) for seed in range(RUNS)]
    covered = np.mean([part.low <= true <= part.high for part in found])
    assert 0.90 <= covered <= 0.995


def test_a_window_without_an_error_is_not_certain() -> None:
    truth = np.tile([0, 1], 15)
    found = estimate("f1_macro", Answers(truth, truth))
    assert (found.score, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(find_wilson(1.0, 30)[0])


def test_an_interval_of_f1_covers_what_many_rows_have() -> None:
    true = estimate("f1_macro", draw_labels(np.random.default_rng(99), 200_000)).score
    found = [estimate("f1_macro", draw_labels(np.random.default_rng(seed), 2000)) for seed in range(RUNS)]
    assert 0.90 <= np.mean([part.low <= true <= part.high for part in found]) <= 0.995


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy"])
def test_users_who_are_answered_alike_widen_the_interval(metric: str) -> None:
    """Forty users with fifty rows each: a user's rows are all right or all wrong."""
    hits, users = [], np.repeat(np.arange(40), 50)
    for seed in range(RUNS):
        random = np.random.default_rng(seed)
        truth = np.tile([0, 1], 1000)
        is_right = np.repeat(random.random(40) < 0.8, 50)
        found = estimate(metric, Answers(truth, np.where(is_right, truth, 1 - truth)), users)
        hits.append(found.low <= 0.8 <= found.high)
    assert 0.90 <= np.mean(hits) <= 0.995


def test_weights_count_as_that_many_rows_for_the_score_but_not_for_the_certainty() -> None:
    is_hit, weights = np.array([True] * 90 + [False] * 10), np.array([1.0] * 50 + [10.0] * 50)
    rows = count_effective_rows(is_hit, weights, np.arange(100))
    assert rows < 60.5  # Kish: 550^2 / 5,050 = 59.9


def test_one_user_alone_has_no_interval_but_all_of_it() -> None:
    truth = np.zeros(100, dtype=np.int64)
    clusters = np.zeros(100, dtype=np.int64)
    found = estimate("accuracy", Answers(truth, truth), clusters)
    assert found.low < 0.25
    assert found.high == 1.0
    assert math.isnan(estimate("f1_macro", Answers(truth, truth), clusters).low)


def test_a_row_without_a_user_is_a_user_of_its_own() -> None:
    assert number_clusters(np.array(["b", None, "a", "b", None], dtype=object)).tolist() == [1, 2, 0, 1, 3]
    assert number_clusters(np.array([], dtype=object)).tolist() == []


def test_the_same_rows_give_the_same_interval() -> None:
    answers = draw_values(np.random.default_rng(1), 300)
    assert estimate("r2", answers) == estimate("r2", answers)
