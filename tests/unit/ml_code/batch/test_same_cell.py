"""One raw cell of a category is the same input of the model in each way that a row can come."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from ml_code.batch.answers import feed_batch
from ml_code.data.features import name_categories
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
