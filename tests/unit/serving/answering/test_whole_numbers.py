"""Rows of a model that reads whole numbers alone, as a file of another framework may."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ml_code.model_file.spec import Feature, GoldenRows, ModelSpec
from serving.answering.rows import RowParser
from serving.errors import RequestError

SPEC = ModelSpec(
    dataset="parts",
    task="regression",
    target="price",
    features=[
        Feature(name="count", kind="numeric", is_required=True, whole=(0, 255)),
        Feature(name="size", kind="numeric"),
    ],
    prediction_output="price",
    golden=GoldenRows(rows=[], predictions=[]),
)


@pytest.mark.parametrize("rows", [[[255, 2.5]], [[3.0, 1.0], [0, None]], np.array([[4.0, 0.5], [5.0, 1.5]])])
def test_whole_numbers_of_the_range_are_read(rows: Any) -> None:
    assert len(RowParser(SPEC).check(rows).rows) == len(rows)


@pytest.mark.parametrize("cell", [2.5, 256, -1])
@pytest.mark.parametrize("is_array", [False, True])
@pytest.mark.parametrize("count", [1, 2])
def test_another_number_is_refused_with_the_range(cell: float, is_array: bool, count: int) -> None:
    rows: Any = [[cell, 1.0]] * count
    with pytest.raises(RequestError) as caught:
        RowParser(SPEC).check(np.array(rows) if is_array else rows)
    assert len(caught.value.detail) == count
    assert "expected a whole number from 0 to 255: this model reads no other" in str(caught.value.detail[0])
