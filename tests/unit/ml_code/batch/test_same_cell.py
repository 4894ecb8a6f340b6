"""One raw cell of a category is the same input of the model in each way that a row can come."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ml_code.batch.answers import feed_batch
from ml_code.data.features import name_categories
from ml_code.data.validation import read_texts
from ml_code.model_file.feed import feed_columns, feed_rows
from ml_code.model_file.spec import Feature

FEATURES = [Feature(name="town (city)", kind="categorical", input="feature_0")]

CELLS = [
    st.text(st.characters(exclude_categories=["Cs"])) | st.none(),
    st.floats(allow_infinity=False) | st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.booleans() | st.none(),
]


@given(st.one_of(*[st.lists(cells, min_size=1, max_size=8) for cells in CELLS]))
def test_training_requests_and_parquet_batches_read_one_category(cells: list[object]) -> None:
    expected = name_categories(pd.Series(cells, dtype=object)).tolist()
    by_row = feed_rows(FEATURES, [[cell] for cell in cells])  # type: ignore[list-item]
    by_column = feed_columns(FEATURES, {"town (city)": cells})  # type: ignore[dict-item]
    batch = pa.RecordBatch.from_pydict({"town (city)": pa.array(cells)})
    by_batch = feed_batch(FEATURES, batch)
    for feed in (by_row, by_column, by_batch):
        assert feed["feature_0"].reshape(-1).tolist() == expected


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.none(), min_size=1, max_size=8))
@example(["", "\x00"])
@example(["a", "a\x00b"])
def test_intake_and_batches_of_csv_read_the_same_category(cells: list[str | None]) -> None:
    """A CSV file has texts alone; `read_texts` reads them for both."""
    expected = name_categories(pd.Series(cells, dtype=object)).tolist()
    assert read_texts(pd.Series(cells, dtype="str")).fillna("").tolist() == expected


def test_one_and_true_are_two_categories() -> None:
    assert name_categories(pd.Series([1, True], dtype=object)).tolist() == ["1", "True"]


@pytest.mark.parametrize(
    ("text", "value"), [("1", 1), ("1.0", 1.0), ("true", True), ("FALSE", False), ("9" * 30, "9" * 30)]
)
def test_a_cell_of_a_csv_file_is_that_of_a_request(text: str, value: object) -> None:
    [csv] = read_texts(pd.Series([text], dtype="str"))
    [request] = feed_rows(FEATURES, [[value]])["feature_0"].reshape(-1).tolist()  # type: ignore[list-item]
    assert csv == request
