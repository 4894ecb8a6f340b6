from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ml_code.gate.slices import list_cuts, list_outer_cuts
from ml_code.model_file.onnx_model import Prediction
from ml_code.monitoring.quality.answered import flatten_features, split_answers
from ml_code.monitoring.quality.figures import Figure, measure_answers
from ml_code.monitoring.quality.holdout import Reference, calibrate, find_rarer, read_score
from ml_code.training.reference import list_scores
from tests.unit.ml_code.monitoring.quality.logged_rows import make_answered, make_joined
from tests.unit.ml_code.passengers import make_dataset, make_typed_rows

ROWS = 100
FEATURES = pd.DataFrame({
    "age": np.arange(float(ROWS)), "fare": [1.0] * ROWS, "town": ["S", "C"] * (ROWS // 2), "sex": ["male"] * ROWS,
})  # fmt: skip
RIGHT = ["alive"] * ROWS


def measure(
    predictions: object, labels: object, reference: Reference | None = None, **more: object
) -> dict[str, Figure]:
    answered = make_answered(FEATURES, predictions, labels, **more)  # type: ignore[arg-type]
    return {found.part: found for found in measure_answers(make_dataset(), answered, reference or Reference())}


def test_accuracy_counts_the_labelled_rows_alone() -> None:
    labels = ["alive"] * 30 + ["dead"] * 10 + [None] * 60
    found = measure(RIGHT, labels)[""]
    assert (found.rows, found.labelled, found.coverage) == (100, 40, 0.4)
    assert found.score is not None
    assert found.score.score == 0.75
    assert (found.score.low, found.score.high) == pytest.approx((0.598, 0.858), abs=1e-3)


def test_a_window_without_labels_has_rows_and_no_score() -> None:
    found = measure(RIGHT, [None] * ROWS)[""]
    assert (found.rows, found.labelled, found.coverage, found.score) == (100, 0, 0.0, None)


def test_a_window_without_the_rare_class_says_nothing_of_average_precision() -> None:
    dataset = make_dataset(gate={"metric": "average_precision", "threshold": 0.5})
    answered = make_answered(FEATURES, RIGHT, RIGHT, scores=[0.9] * ROWS)
    assert measure_answers(dataset, answered, Reference(rarer="dead"))[0].score is None


def test_a_row_of_a_sampled_request_stands_for_those_left_out() -> None:
    labels = ["alive"] * 50 + ["dead"] * 50
    found = measure(RIGHT, labels, sampling=[1.0] * 50 + [0.25] * 50)[""]
    assert found.score is not None
    assert found.score.score == pytest.approx(50 / 250)


def test_a_label_is_the_same_in_every_spelling() -> None:
    answered = make_answered(FEATURES, ["1"] * ROWS, ["1.0"] * 50 + [" 1"] * 50)
    found = measure_answers(make_dataset(), answered, Reference())[0]
    assert found.score is not None
    assert found.score.score == 1.0


def test_slices_have_the_edges_of_the_holdout() -> None:
    holdout = make_typed_rows()
    dataset = make_dataset()
    cuts = [*list_cuts(dataset, holdout), *list_outer_cuts(dataset, holdout)]
    labels = ["dead" if age > 80 else "alive" for age in FEATURES["age"]]
    found = measure(RIGHT, labels, Reference(cuts=cuts))
    quartile = next(name for name in found if name.startswith("age <= "))
    assert found[quartile].rows == sum(FEATURES["age"] <= float(holdout["age"].quantile(0.25)))
    (beyond,) = [part for name, part in found.items() if name == f"age > {holdout['age'].max():g}"]
    assert beyond.score is not None
    assert beyond.score.score < 0.1
    assert found["town = S"].rows == 50
    assert "town = another category" not in found


def test_a_category_that_the_holdout_lacks_is_a_slice() -> None:
    holdout, dataset = make_typed_rows(), make_dataset()
    far = FEATURES.assign(town="Z")
    answered = make_answered(far, RIGHT, RIGHT)
    found = measure_answers(dataset, answered, Reference(cuts=list_outer_cuts(dataset, holdout)))
    assert [part.part for part in found if part.part.startswith("town")] == ["town = another category"]


def test_a_column_that_the_log_leaves_out_has_no_slice() -> None:
    holdout, dataset = make_typed_rows(), make_dataset()
    answered = make_answered(FEATURES.drop(columns=["sex"]), RIGHT, RIGHT)
    found = measure_answers(dataset, answered, Reference(cuts=list_cuts(dataset, holdout)))
    assert not [part for part in found if part.part.startswith("sex")]


def test_a_regression_reads_its_labels_as_numbers_and_leaves_out_texts() -> None:
    dataset = make_dataset("regression", gate={"metric": "mae", "threshold": 9.0})
    answered = make_answered(FEATURES, [2.0] * ROWS, ["1"] * 40 + ["4"] * 40 + ["much"] * 10 + ["inf"] * 10)
    found = measure_answers(dataset, answered, Reference())[0]
    assert found.score is not None
    assert (found.score.score, found.labelled) == (1.5, 80)


def test_average_precision_ranks_by_the_probability_of_the_rarer_class() -> None:
    dataset = make_dataset(gate={"metric": "average_precision", "threshold": 0.5})
    predictions = ["dead"] * 90 + ["alive"] * 10
    scores = [0.9] * 80 + [0.6] * 10 + [0.8] * 10  # so alive has 0.1, 0.4 and 0.8
    answered = make_answered(FEATURES, predictions, ["dead"] * 80 + ["alive"] * 20, scores=scores)
    best = measure_answers(dataset, answered, Reference(rarer="alive"))[0]
    assert best.score is not None
    assert best.score.score == 1.0
    unknown = measure_answers(dataset, answered, Reference())[0]
    assert (unknown.score, unknown.labelled) == (None, 100)


def test_versions_and_variants_are_told_apart_across_schemas() -> None:
    versions, variants = ["1"] * 60 + ["2"] * 40, ["champion"] * 90 + ["shadow"] * 10
    first = make_joined(FEATURES, RIGHT, RIGHT, version=versions, variant=variants)
    second = make_joined(FEATURES[["age", "fare"]], RIGHT, RIGHT, version="1")
    parts = split_answers([first, second])
    assert [(part.version, part.variant, len(part.rows)) for part in parts] == [
        ("1", "champion", 160), ("2", "champion", 30), ("2", "shadow", 10),
    ]  # fmt: skip
    assert list(parts[0].features.columns) == ["age", "fare"]
    assert list(parts[1].features.columns) == list(FEATURES.columns)


def test_an_empty_table_has_no_version() -> None:
    assert split_answers([make_joined(FEATURES.head(0), [], [])]) == []
    assert len(flatten_features(make_joined(FEATURES.head(0), [], []))) == 0


@pytest.mark.parametrize("name", ["hour", "date", "features", "version", "label"])
def test_a_feature_may_have_the_name_of_a_column_of_the_log(name: str) -> None:
    features = pd.DataFrame({name: [1.0, 2.0]})
    (found,) = split_answers([make_joined(features, ["a", "b"], ["a", None])])
    assert found.features[name].tolist() == [1.0, 2.0]
    assert found.coverage == 0.5


def test_the_estimate_without_labels_is_what_the_confidence_was_worth_on_the_holdout() -> None:
    """A model that says 0.9 and is right in six of ten rows."""
    truth = pd.Series((["alive"] * 6 + ["dead"] * 4) * 20)
    probabilities = np.tile(np.array([[0.9, 0.1]], dtype=np.float32), (200, 1))
    calibration = calibrate(truth, Prediction(["alive"] * 200, probabilities, ["alive", "dead"]))
    found = measure(RIGHT, [None] * ROWS, Reference(calibration=calibration), scores=[0.9] * ROWS)[""]
    assert found.estimated_accuracy == pytest.approx(0.6)
    assert measure(RIGHT, [None] * ROWS, Reference(calibration=calibration))[""].estimated_accuracy is None


def test_the_confidence_is_that_of_the_answered_class() -> None:
    """A file with a border of its own answers a class that is not the most probable one."""
    probabilities = np.tile(np.array([[0.6, 0.4]], dtype=np.float32), (ROWS, 1))
    answers = Prediction(["dead", "alive"] * (ROWS // 2), probabilities, ["alive", "dead"])
    assert list_scores(answers).to_pylist()[:2] == pytest.approx([0.4, 0.6])
    calibration = calibrate(pd.Series(["alive"] * ROWS), answers)
    assert calibration is not None
    assert calibration(np.array([0.4, 0.6])).tolist() == pytest.approx([0.0, 1.0], abs=1e-6)


def test_few_rows_and_values_are_not_calibrated() -> None:
    few = Prediction(["alive"] * 49, np.full((49, 2), 0.5, dtype=np.float32), ["alive", "dead"])
    assert calibrate(pd.Series(["alive"] * 49), few) is None
    assert calibrate(pd.Series([1.0] * 100), Prediction([1.0] * 100, None)) is None


def test_the_score_at_the_gate_comes_with_its_interval() -> None:
    score = read_score({"accuracy": 0.9, "accuracy_low": 0.8, "accuracy_high": 0.95}, "accuracy")
    assert score is not None
    assert (score.score, score.low, score.high) == (0.9, 0.8, 0.95)
    judged = read_score({"gate_score": 0.7}, "accuracy")
    assert judged is not None
    assert (judged.score, judged.low, judged.high) == (0.7, 0.7, 0.7)
    assert read_score({}, "accuracy") is None


def test_the_rarer_class_is_that_of_the_holdout_and_the_second_of_equal_ones() -> None:
    dataset = make_dataset()
    assert find_rarer(dataset, pd.Series(["alive", "dead", "dead"])) == "alive"
    assert find_rarer(dataset, pd.Series(["alive", "dead"])) == "dead"
    assert find_rarer(dataset, pd.Series(["alive", "dead", "lost"])) is None
    assert find_rarer(make_dataset("regression"), pd.Series([1.0, 2.0])) is None
