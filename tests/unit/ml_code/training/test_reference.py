"""The reference of a version: what it holds, and that its file reads as it was written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml_code.data.holdout import Split
from ml_code.datasets import Dataset, load_dataset
from ml_code.errors import DataCheckError
from ml_code.model_file.onnx_model import Prediction
from ml_code.model_file.spec import Feature
from ml_code.training import reference
from ml_code.training.reference import make_reference, read_reference

IRIS = load_dataset("iris")


class FakeSpec:
    task = "classification"

    def __init__(self, dataset: Dataset) -> None:
        self.features = [Feature(name=name, kind="numeric") for name in dataset.numeric]


class FakeModel:
    """Answers the label 1 with a probability that the first feature tells."""

    def __init__(self, dataset: Dataset = IRIS) -> None:
        self.spec = FakeSpec(dataset)

    def predict_columns(self, columns: Any) -> Prediction:
        first = np.asarray(columns["sepal_length"], np.float32)
        return Prediction([1] * len(first), np.column_stack([1 - first / 10, first / 10]), [0, 1])


def make_split(train: int, holdout: int) -> Split:
    def make(rows: int, first: float) -> pd.DataFrame:
        cells = {name: np.linspace(6, 7, rows) for name in IRIS.numeric}
        return pd.DataFrame({**cells, "sepal_length": np.full(rows, first), "species": 1})

    return Split(make(train, 6.0), make(holdout, 8.0), "holdout")


def make(train: int = 60, holdout: int = 40) -> reference.Reference:
    return make_reference(IRIS, make_split(train, holdout), FakeModel())  # type: ignore[arg-type]


def test_only_rows_that_the_model_has_not_learnt_have_answers() -> None:
    rows = make().rows
    assert rows.column("prediction").to_pylist() == [None] * 60 + ["1"] * 40
    assert rows.column("score").to_pylist()[:60] == [None] * 60
    assert rows.column("score").to_pylist()[60:] == pytest.approx([0.8] * 40)
    assert [row["sepal_length"] for row in rows.column("features").to_pylist()] == [6.0] * 60 + [8.0] * 40


def test_a_large_table_gives_ten_thousand_rows_of_both_sides() -> None:
    rows = make(train=16_000, holdout=4_000).rows
    assert rows.num_rows == 10_000
    assert 1_800 < rows.num_rows - rows.column("prediction").null_count < 2_200


def test_the_file_reads_as_it_was_written() -> None:
    made = make()
    again = read_reference(made.render())
    assert (again.rows, again.features) == (made.rows, made.features)


def test_another_file_is_refused_with_the_next_step() -> None:
    with pytest.raises(DataCheckError, match="train again"):
        read_reference(b"no parquet")


def test_a_table_without_any_logged_feature_still_has_its_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "is_logged", lambda dataset, feature: False)
    made = make()
    assert (made.features, read_reference(made.render()).rows.column_names) == ([], ["prediction", "score"])
