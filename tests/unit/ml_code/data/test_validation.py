from __future__ import annotations

import pandas as pd
import pytest

from ml_code.data.validation import BadCell, check_rows, narrow_target, refuse_too_many_bad
from ml_code.errors import DataCheckError
from tests.unit.ml_code.passengers import make_dataset, make_rows

CHECKS = {"columns": {"age": {"minimum": 0, "maximum": 120}, "town": {"allowed": ["S", "C", "Q"]}}}


def break_cell(column: str, cell: str | None) -> pd.DataFrame:
    rows = make_rows()
    rows.loc[3, column] = cell
    return rows


def test_good_rows_come_out_typed_and_complete() -> None:
    rows = make_rows()
    checked = check_rows(make_dataset(checks=CHECKS), rows.assign(note="kept"))
    assert checked.bad == {}
    assert len(checked.good) == len(rows)
    assert checked.good["age"].dtype == "float64"
    assert checked.good["note"].eq("kept").all()
    assert checked.good["town"].isna().sum() == rows["town"].isna().sum()


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        ("fare", "a lot", "fare: found 'a lot', expected a number"),
        ("fare", "1e39", "fare: found '1e39', expected a number"),
        ("fare", "x" * 5000, f"fare: found '{'x' * 199}... (5002 characters), expected a number"),
        ("age", "-1", "age: found '-1', expected at least 0"),
        ("age", "121", "age: found '121', expected at most 120"),
        ("town", "X", "town: found 'X', expected one of S, C, Q"),
        ("outcome", None, "outcome: found nothing, expected a value"),
    ],
)
def test_a_bad_cell_takes_out_its_row_and_says_why(column: str, cell: str | None, reason: str) -> None:
    checked = check_rows(make_dataset(checks=CHECKS), break_cell(column, cell))
    column, reason = reason.split(": ", 1)
    assert checked.bad == {3: BadCell(column, reason)}
    assert len(checked.good) == 399


@pytest.mark.parametrize(("bad_rows", "rows"), [(11, 100), (1, 1)])
def test_too_many_bad_rows_stop_the_load(bad_rows: int, rows: int) -> None:
    with pytest.raises(DataCheckError, match=rf"found {bad_rows} bad rows of {rows} \(line 2: why\).*at most 10%"):
        refuse_too_many_bad("iris", ["line 2: why"], bad_rows, rows, 0.1)


def test_an_accepted_share_of_bad_rows_passes() -> None:
    refuse_too_many_bad("iris", [], 10, 100, 0.1)


def test_rows_that_were_typed_before_pass_a_second_check_unchanged() -> None:
    dataset = make_dataset(checks=CHECKS)
    once = check_rows(dataset, make_rows()).good
    twice = check_rows(dataset, once)
    assert twice.bad == {}
    pd.testing.assert_frame_equal(twice.good, once)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(DataCheckError, match="found no column fare, sex among age, town, outcome"):
        check_rows(make_dataset(), make_rows().drop(columns=["fare", "sex"]))


def test_labels_that_are_whole_numbers_become_numbers() -> None:
    rows = make_rows()
    numbered = rows.assign(outcome=(rows["outcome"] == "alive").astype(int).astype("str"))
    assert narrow_target(make_dataset(), numbered)["outcome"].dtype == "int64"
    assert narrow_target(make_dataset(), rows)["outcome"].dtype == rows["outcome"].dtype


@pytest.mark.parametrize("label", ["007", "9" * 20, "-0", "\N{ARABIC-INDIC DIGIT SEVEN}"])
def test_labels_that_numbers_would_change_stay_texts(label: str) -> None:
    rows = make_rows().assign(outcome="7")
    rows.loc[3, "outcome"] = label
    assert set(narrow_target(make_dataset(), rows)["outcome"]) == {"7", label}


@pytest.mark.parametrize("name", ["self", "axis", "index", "columns"])
def test_a_column_may_have_the_name_of_an_argument(name: str) -> None:
    dataset = make_dataset(numeric=[name, "age"])
    frame = make_rows().rename(columns={"fare": name})
    assert check_rows(dataset, frame).good[name].dtype == "float64"
