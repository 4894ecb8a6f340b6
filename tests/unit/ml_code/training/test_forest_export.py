from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from skl2onnx.operator_converters import random_forest
from sklearn.ensemble import ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor

from ml_code.training import forest_export
from ml_code.training.forest_export import round_down


def convert(model: Any) -> bytes:
    types = [("x", FloatTensorType([None, 4]))]
    proto = convert_sklearn(model, "forest", types, target_opset={"": 19, "ai.onnx.ml": 3})
    found: bytes = proto.SerializeToString()
    return found


@pytest.mark.parametrize(
    ("kind", "classes"),
    [
        (RandomForestClassifier, 2),
        (RandomForestClassifier, 3),
        (RandomForestClassifier, 1),
        (RandomForestClassifier, 40),
        (RandomForestRegressor, None),
        (ExtraTreesRegressor, None),
    ],
)
def test_a_file_is_the_same_as_of_skl2onnx_alone(
    kind: type, classes: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(7)
    # A third of the numbers is equal to another one, and most thresholds are no float32 number.
    rows = np.round(random.normal(size=(400, 4)) * 1e3, 1) / 7
    target = rows[:, 0] + random.normal(size=400) if classes is None else random.integers(0, classes, 400)
    model = kind(n_estimators=6, random_state=7).fit(rows, target)
    calls: list[int] = []
    monkeypatch.setattr(
        forest_export, "ADD_NODE_BY_NODE", lambda *_, **__: pytest.fail("expected each tree to be added at once")
    )
    monkeypatch.setattr(
        random_forest,
        "add_tree_to_attribute_pairs",
        lambda *arguments, **options: (calls.append(1), forest_export.add_tree(*arguments, **options)),
    )
    found = convert(model)
    assert len(calls) == 6
    monkeypatch.undo()
    monkeypatch.setattr(random_forest, "add_tree_to_attribute_pairs", forest_export.ADD_NODE_BY_NODE)
    assert found == convert(model)


def test_numbers_of_float32_are_split_as_by_the_threshold() -> None:
    random = np.random.default_rng(7)
    numbers = random.normal(size=10_000).astype(np.float32)
    around = np.nextafter(numbers, np.float32(np.inf))
    thresholds = (numbers.astype(np.float64) + around.astype(np.float64)) / 2
    for some in (thresholds, numbers.astype(np.float64), np.nextafter(numbers.astype(np.float64), -np.inf)):
        rounded = round_down(some)
        assert rounded.dtype == np.float32
        for row in (numbers, around):
            assert ((row <= some) == (row <= rounded)).all()


def test_forests_of_trainings_are_converted_a_tree_at_once() -> None:
    from ml_code.training.export import _register_converters  # noqa: PLC0415

    _register_converters()
    assert random_forest.add_tree_to_attribute_pairs is forest_export.add_tree
