from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from ml_code.model_file.onnx_model import OnnxModel, Prediction
from serving.answering.tally import OTHER, Tallier
from tests.unit.serving.onnx_files import make_classifier, make_mixed_regressor

FLOWER = [5.1, 3.5, 1.4, 0.2]


@pytest.fixture(scope="module")
def iris() -> OnnxModel:
    return OnnxModel(make_classifier())


def test_one_row_and_many_are_counted_by_class(iris: OnnxModel) -> None:
    tallier = Tallier(iris.spec)
    assert tallier.count(iris.predict_rows([FLOWER])) == (1, 0, {"0": 1}, 0, 0, {})
    assert tallier.count(iris.predict_rows([FLOWER, [6.0, 2.9, 4.5, 1.5], FLOWER])) == (
        3,
        0,
        {"0": 2, "1": 1},
        0,
        0,
        {},
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_probability_that_is_no_number_marks_its_row(iris: OnnxModel, bad: float) -> None:
    probabilities = np.array([[0.1, 0.9], [bad, 0.5], [0.5, bad]], dtype=np.float32)
    assert Tallier(iris.spec).count(Prediction([0, 1, 1], probabilities)).nan_rows == 2
    assert Tallier(iris.spec).count(Prediction([1], probabilities[1:2])).nan_rows == 1


def test_a_label_that_the_spec_does_not_know_is_no_class_of_its_own(iris: OnnxModel) -> None:
    tallier = Tallier(iris.spec)
    assert tallier.count(Prediction(["new", 0, "newer"], None)).classes == {OTHER: 2, "0": 1}
    assert tallier.count(Prediction(["new"], None)).classes == {OTHER: 1}


def test_a_count_by_places_is_the_count_by_labels(iris: OnnxModel) -> None:
    prediction = iris.predict_rows([FLOWER, [6.0, 2.9, 4.5, 1.5], FLOWER, [7.7, 3.0, 6.1, 2.3], FLOWER])
    assert prediction.places is not None
    assert [iris.spec.classes[place] for place in prediction.places] == prediction.values  # type: ignore[index]
    tallier = Tallier(iris.spec)
    assert tallier.count(prediction) == tallier.count(replace(prediction, places=None))


def test_values_are_summed_without_those_that_are_no_number() -> None:
    tallier = Tallier(OnnxModel(make_mixed_regressor()).spec)
    assert tallier.count(Prediction([3.0], None)) == (1, 0, {}, 3.0, 9.0, {})
    assert tallier.count(Prediction([3.0, math.nan, 4.0, math.inf], None)) == (4, 2, {}, 7.0, 25.0, {})
