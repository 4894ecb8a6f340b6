from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from ml_code.dataset_rules import Metric
from ml_code.errors import GateError
from ml_code.gate.evaluation import SCORES, compare, count_confusions, measure, measure_intervals, read_answers
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
    difference = compare(make_dataset(), TRUTH, same, same, "accuracy", clusters=None)
    assert (difference.value, difference.standard_error) == (0, 0)


def test_the_standard_error_is_that_of_paired_rows() -> None:
    """Of n rows one model has k more right and none less: the difference is k/n, its SE sqrt(p (1 - p) / n)."""
    perfect = Prediction(TRUTH.tolist(), None)
    difference = compare(make_dataset(), TRUTH, perfect, Prediction(GUESSES, None), "accuracy", clusters=None)
    share = np.mean(TRUTH != GUESSES)
    assert difference.value == pytest.approx(share)
    assert difference.standard_error == pytest.approx(np.sqrt(share * (1 - share) / 300), rel=0.15)


def test_rows_of_one_group_count_as_one_draw() -> None:
    """Ten groups of thirty equal rows: the difference is as uncertain as that of ten rows."""
    groups = np.repeat(np.arange(10), 30)
    truth = pd.Series(["yes"] * 300)
    half = Prediction(np.where(groups < 5, "yes", "no").tolist(), None)
    perfect, dataset = Prediction(["yes"] * 300, None), make_dataset()
    found = compare(dataset, truth, perfect, half, "accuracy", clusters=groups)
    assert (found.value, found.standard_error) == (0.5, pytest.approx(math.sqrt(0.25 / 10), rel=0.15))
    low, high = measure_intervals(dataset, truth, half, groups)["accuracy"]
    assert high - low > 0.4


def test_a_smaller_error_is_better() -> None:
    perfect = Prediction(HEIGHTS.tolist(), None)
    found = compare(make_dataset("regression"), HEIGHTS, perfect, Prediction(ESTIMATES, None), "rmse", clusters=None)
    assert found.value > 0


def test_confusions_are_counted_by_true_and_answered_label() -> None:
    counts = count_confusions(pd.Series(["a", "a", "b"]), Prediction(["a", "b", "b"], None), ["a", "b"])
    assert counts.tolist() == [[1, 1], [0, 1]]


def test_the_same_predictions_give_the_same_intervals_and_differences() -> None:
    dataset, found = make_dataset(), Prediction(GUESSES, None)
    other = Prediction(TRUTH.tolist(), None)
    assert measure_intervals(dataset, TRUTH, found) == measure_intervals(dataset, TRUTH, found)
    first, second = (compare(dataset, TRUTH, found, other, "accuracy", clusters=None) for _ in range(2))
    assert first == second


def test_a_target_without_spread_has_nothing_to_explain() -> None:
    heights = pd.Series([170.0] * 20)
    found = measure(make_dataset("regression"), heights, Prediction([170.0] * 20, None))
    assert found["r2"] == 0.0


SURE = RANDOM.uniform(size=300).round(1)
IS_RARE = pd.Series(np.where(RANDOM.uniform(size=300) < 0.2 * (1 + SURE), "yes", "no"))
TWO = make_dataset(gate={"metric": "average_precision", "threshold": 0.3})


def give_chances(chances: Sequence[float], classes: Sequence[str] = ("no", "yes")) -> Prediction:
    """Probabilities of `yes`, beside the label that is likelier."""
    shares = np.array([[1 - chance, chance] for chance in chances], dtype=np.float32)
    values = ["yes" if chance > 0.5 else "no" for chance in chances]
    return Prediction(values, shares if classes[1] == "yes" else shares[:, ::-1], classes)


@pytest.mark.parametrize("classes", [("no", "yes"), ("yes", "no")])
def test_average_precision_of_the_rarer_class_equals_that_of_scikit_learn(classes: tuple[str, str]) -> None:
    """Many rows have equal probabilities, which count as one threshold."""
    found = measure(TWO, IS_RARE, give_chances(SURE, classes))["average_precision"]
    assert found == pytest.approx(metrics.average_precision_score(IS_RARE == "yes", SURE))


def test_average_precision_of_a_constant_is_the_share_of_the_class() -> None:
    assert measure(TWO, IS_RARE, give_chances([0.3] * 300))["average_precision"] == pytest.approx(
        np.mean(IS_RARE == "yes")
    )


def test_average_precision_without_a_row_of_the_class_is_zero() -> None:
    assert measure(TWO, pd.Series(["no"] * 300), give_chances(SURE))["average_precision"] == 0.0


def test_average_precision_is_measured_wherever_it_can_be() -> None:
    assert "average_precision" in measure(make_dataset(), IS_RARE, give_chances(SURE))
    assert "average_precision" in measure_intervals(make_dataset(), IS_RARE, give_chances(SURE))
    assert "average_precision" not in measure(make_dataset(), IS_RARE, Prediction(IS_RARE.tolist(), None))


@pytest.mark.parametrize(
    "prediction",
    [Prediction(GUESSES, None), Prediction(GUESSES, np.full((300, 3), 1 / 3, np.float32), LABELS.tolist())],
)
def test_a_gate_of_average_precision_refuses_a_model_without_probabilities_of_two_classes(
    prediction: Prediction,
) -> None:
    with pytest.raises(GateError, match="found a model without probabilities of two classes"):
        measure(TWO, TRUTH, prediction)


def test_a_text_in_place_of_a_number_is_named() -> None:
    with pytest.raises(GateError, match=r"passengers: found predictions that are not numbers .*450,000"):
        measure(make_dataset("regression"), HEIGHTS, Prediction(["450,000"] * 300, None))


@pytest.mark.parametrize("metric", ["balanced_accuracy", "f1_macro"])
def test_a_weight_counts_a_row_as_often(metric: Metric) -> None:
    """A bootstrap draws a row twice, a slice leaves rows out."""
    weights = np.arange(300) % 3
    drawn = np.repeat(np.arange(300), weights)
    answers = read_answers(make_dataset(), TRUTH, Prediction(GUESSES, None))
    repeated = measure(make_dataset(), TRUTH[drawn], Prediction([GUESSES[row] for row in drawn], None))
    assert SCORES[metric](answers, weights.astype(float)) == pytest.approx(repeated[metric])


@pytest.mark.parametrize("metric", ["r2", "rmse", "mae"])
def test_a_weight_counts_a_number_as_often(metric: Metric) -> None:
    weights = np.arange(300) % 3
    drawn = np.repeat(np.arange(300), weights)
    answers = read_answers(make_dataset("regression"), HEIGHTS, Prediction(ESTIMATES, None))
    repeated = measure(make_dataset("regression"), HEIGHTS[drawn], Prediction([ESTIMATES[row] for row in drawn], None))
    assert SCORES[metric](answers, weights.astype(float)) == pytest.approx(repeated[metric])
