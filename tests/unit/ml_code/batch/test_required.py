"""A batch of a model that does not read missing cells, or reads whole numbers alone."""

from __future__ import annotations

import pyarrow as pa
import pytest

from ml_code.batch.answers import feed_batch
from ml_code.errors import DataCheckError
from ml_code.model_file.spec import Feature


@pytest.mark.parametrize(
    ("feature", "cells"),
    [
        (Feature(name="size", kind="numeric", is_required=True), [1.0, None]),
        (Feature(name="size", kind="numeric", is_required=True), [1.0, float("nan")]),
        (Feature(name="size", kind="categorical", is_required=True), ["a", None]),
        (Feature(name="size", kind="categorical", is_required=True), ["a", " "]),
    ],
)
def test_a_missing_cell_is_refused_with_its_row(feature: Feature, cells: list[object]) -> None:
    batch = pa.RecordBatch.from_pydict({"size": pa.array(cells)})
    feed_batch([feature], batch.slice(0, 1))
    feed_batch([feature.model_copy(update={"is_required": False})], batch)
    with pytest.raises(DataCheckError, match="column size, row 11: found no value, which this model does not read"):
        feed_batch([feature], batch, first_row=10)


@pytest.mark.parametrize("cell", [2.5, 256.0, -1.0])
def test_a_number_that_would_be_read_as_another_one_is_refused(cell: float) -> None:
    feature = Feature(name="size", kind="numeric", is_required=True, whole=(0, 255))
    batch = pa.RecordBatch.from_pydict({"size": pa.array([255.0, cell])})
    feed_batch([feature], batch.slice(0, 1))
    with pytest.raises(DataCheckError, match=r"column size, row 11: found .*, expected a whole number from 0 to 255"):
        feed_batch([feature], batch, first_row=10)
