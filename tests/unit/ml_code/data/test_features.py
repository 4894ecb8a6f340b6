from __future__ import annotations

import pandas as pd
import pytest

from ml_code.data.features import read_as_numbers
from ml_code.datasets import load_dataset
from ml_code.errors import DataCheckError
from ml_code.reading.rules import NumberForm, Reading

OWN_FORM = {"petal_width": NumberForm(missing=["k. A."]), "petal_length": NumberForm(thousands=",", signs=["₩"])}
READING = Reading(decimal=",", columns=OWN_FORM)
IRIS = load_dataset("iris").model_copy(update={"reading": READING})


def test_texts_become_numbers_in_the_form_of_the_datasets_files() -> None:
    cells = pd.Series(["0,2", "k. A.", None, "2,3"], name="petal_width")
    assert read_as_numbers(IRIS, cells).fillna(-1).tolist() == [0.2, -1, -1, 2.3]


def test_a_column_has_signs_of_its_own() -> None:
    assert read_as_numbers(IRIS, pd.Series(["₩1,500", "2.5"], name="petal_length")).tolist() == [1500, 2.5]


def test_numbers_stay() -> None:
    assert read_as_numbers(IRIS, pd.Series([0.25, 2], name="petal_width")).tolist() == [0.25, 2]


def test_other_texts_are_counted_and_not_quoted() -> None:
    cells = pd.Series(["0,2", "wide", "0.5"], name="petal_width")
    with pytest.raises(DataCheckError, match="column petal_width: found 2 texts, expected numbers"):
        read_as_numbers(IRIS, cells)
