from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_code.model_file.feed import feed_columns, feed_rows, name_column
from ml_code.model_file.spec import Feature


@pytest.mark.parametrize(
    ("categories", "fed"),
    [
        (["0", "1"], ["1", "0", "1", "1"]),
        (["False", "True"], ["True", "False", "True", "1"]),
        (["0", "1", "True"], ["True", "False", "True", "1"]),
        (None, ["True", "False", "True", "1"]),
    ],
)
def test_truth_values_are_spelt_as_in_training(categories: list[str] | None, fed: list[str]) -> None:
    features = [Feature(name="member", kind="categorical", categories=categories)]
    cells = [True, False, "true", 1]
    assert feed_columns(features, {"member": cells})["member"].reshape(-1).tolist() == fed
    assert feed_rows(features, [[cell] for cell in cells])["member"].reshape(-1).tolist() == fed


def test_a_feature_reads_truth_values_if_training_had_them() -> None:
    assert Feature(name="x", kind="numeric", is_flag=True).reads_truths
    assert not Feature(name="x", kind="numeric").reads_truths
    assert Feature(name="x", kind="categorical").reads_truths
    assert Feature(name="x", kind="categorical", categories=["1"]).reads_truths
    assert not Feature(name="x", kind="categorical", categories=["busan"]).reads_truths


@settings(deadline=None, max_examples=50)
@given(
    column=st.lists(
        st.one_of(st.sampled_from([" a", "a", "TRUE", "1.0", "", None, True, 1, 1.0]), st.text("aE 10.e", max_size=4)),
        max_size=6,
    )
)
def test_a_column_is_named_as_each_of_its_cells(column: list[object]) -> None:
    feature = Feature(name="port", kind="categorical", categories=["0", "1"])
    assert name_column(feature, column) == [name for cell in column for name in name_column(feature, [cell])]
