from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from ml_code.gate.evaluation import compare, count_confusions, measure, measure_intervals
from ml_code.model_file.onnx_model import Prediction
from tests.unit.ml_code.passengers import make_dataset

RANDOM = np.random.default_rng(5)
LABELS = np.array(["alive", "dead", "lost"])
TRUTH = pd.Series(RANDOM.choice(LABELS, 300))
GUESSES = np.where(RANDOM.uniform(size=300) < 0.7, TRUTH, RANDOM.choice(LABELS, 300)).tolist()
HEIGHTS = pd.Series(RANDOM.normal(170, 10, 300))
ESTIMATES = (HEIGHTS + RANDOM.normal(0, 5, 300)).tolist()


def test_classification_metrics_equal_those_of_scikit_learn() -> None:
    found = measure(make_dataset(), TRUTH, Prediction(GUESSES, None))
    assert found == pytest.approx(
        {
            "accuracy": metrics.accuracy_score(TRUTH, GUESSES),
            "balanced_accuracy": metrics.balanced_accuracy_score(TRUTH, GUESSES),
            "f1_macro": metrics.f1_score(TRUTH, GUESSES, average="macro"),
        }
    )


def test_regression_metrics_equal_those_of_scikit_learn() -> None:
    found = measure(make_dataset("regression"), HEIGHTS, Prediction(ESTIMATES, None))
    assert found == pytest.approx(
        {
            "r2": metrics.r2_score(HEIGHTS, ESTIMATES),
            "rmse": metrics.root_mean_squared_error(HEIGHTS, ESTIMATES),
            "mae": metrics.mean_absolute_error(HEIGHTS, ESTIMATES),
        }
    )


def test_an_interval_is_as_wide_as_the_rows_are_few() -> None:
    """A share p of n rows lies within 1.96 sqrt(p (1 - p) / n) of itself in 95 of 100 samples."""
    accuracy = measure(make_dataset(), TRUTH, Prediction(GUESSES, None))["accuracy"]
    low, high = measure_intervals(make_dataset(), TRUTH, Prediction(GUESSES, None))["accuracy"]
    half = 1.96 * np.sqrt(accuracy * (1 - accuracy) / 300)
    assert (accuracy - low, high - accuracy) == pytest.approx((half, half), rel=0.2)


def test_equal_models_differ_by_nothing_for_sure() -> None:
    same = Prediction(GUESSES, None)
    difference = compare(make_dataset(), TRUTH, same, same, "accuracy")
    assert (difference.value, difference.standard_error) == (0, 0)


def test_the_standard_error_is_that_of_paired_rows() -> None:
    """Of n rows one model has k more right and none less: the difference is k/n, its SE sqrt(p (1 - p) / n)."""
    perfect = Prediction(TRUTH.tolist(), None)
    difference = compare(make_dataset(), TRUTH, perfect, Prediction(GUESSES, None), "accuracy")
    share = np.mean(TRUTH != GUESSES)
    assert difference.value == pytest.approx(share)
    assert difference.standard_error == pytest.approx(np.sqrt(share * (1 - share) / 300), rel=0.15)


def test_a_smaller_error_is_better() -> None:
    perfect = Prediction(HEIGHTS.tolist(), None)
    assert compare(make_dataset("regression"), HEIGHTS, perfect, Prediction(ESTIMATES, None), "rmse").value > 0


def test_confusions_are_counted_by_true_and_answered_label() -> None:
    counts = count_confusions(pd.Series(["a", "a", "b"]), Prediction(["a", "b", "b"], None), ["a", "b"])
    assert counts.tolist() == [[1, 1], [0, 1]]


def test_the_same_predictions_give_the_same_intervals_and_differences() -> None:
    dataset, found = make_dataset(), Prediction(GUESSES, None)
    other = Prediction(TRUTH.tolist(), None)
    assert measure_intervals(dataset, TRUTH, found) == measure_intervals(dataset, TRUTH, found)
    first, second = (compare(dataset, TRUTH, found, other, "accuracy") for _ in range(2))
    assert first == second


def test_a_target_without_spread_has_nothing_to_explain() -> None:
    heights = pd.Series([170.0] * 20)
    found = measure(make_dataset("regression"), heights, Prediction([170.0] * 20, None))
    assert found["r2"] == 0.0
