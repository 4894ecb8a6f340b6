"""The canonical cell: what counts as the same category."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_code.cells import clean_text, name_category


@pytest.mark.parametrize("value", ["서울", "  서울\u3000", unicodedata.normalize("NFD", "서울"), "\ufeff서울"])
def test_one_word_is_one_category_in_each_unicode_form_and_with_blanks(value: str) -> None:
    assert name_category(value) == "서울"


@pytest.mark.parametrize("value", [True, np.bool_(True), "True", "true", " TRUE "])
def test_a_truth_value_is_one_category_in_each_spelling(value: object) -> None:
    assert name_category(value) == "True"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, "1"), (1.0, "1"), ("1.0", "1"), ("1.00", "1"), (np.float32(1), "1"), (np.int64(1), "1"),
        ("-0.0", "0"), (-0.0, "0"), ("-3.0", "-3"), ("10", "10"), ("100", "100"),
        ("007", "007"), ("007.0", "007.0"), ("1.10", "1.10"), (1.5, "1.5"), (np.float32(0.1), "0.1"),
        (9_007_199_254_740_993, "9007199254740993"), ("1234567890123456789012", "1234567890123456789012"),
    ],
)  # fmt: skip
def test_a_whole_number_has_no_decimal_places_and_all_its_digits(value: object, expected: str) -> None:
    assert name_category(value) == expected


@pytest.mark.parametrize("value", [None, float("nan"), np.float32("nan"), "", "  ", "\ufeff"])
def test_a_missing_cell_is_the_empty_text(value: object) -> None:
    assert not name_category(value)


def test_a_marker_of_a_missing_number_is_a_text_among_texts() -> None:
    assert name_category("NA") == "NA"  # Namibia


@given(st.text())
def test_a_canonical_cell_stays_as_it_is(text: str) -> None:
    assert name_category(name_category(text)) == name_category(text)
    assert clean_text(clean_text(text)) == clean_text(text)
