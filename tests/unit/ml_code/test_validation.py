from __future__ import annotations

import pandas as pd
import pytest

from ml_code.errors import DataCheckError
from ml_code.validation import check_rows
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
        ("fare", "inf", "fare: found 'inf', expected a number"),
        ("age", "-1", "age: found '-1', expected at least 0"),
        ("age", "121", "age: found '121', expected at most 120"),
        ("town", "X", "town: found 'X', expected one of S, C, Q"),
        ("outcome", None, "outcome: found nan, expected a value"),
    ],
)
def test_a_bad_cell_takes_out_its_row_and_says_why(column: str, cell: str | None, reason: str) -> None:
    checked = check_rows(make_dataset(checks=CHECKS), break_cell(column, cell))
    assert checked.bad == {3: reason}
    assert len(checked.good) == 399


def test_too_many_bad_rows_stop_the_load() -> None:
    rows = make_rows().assign(fare="a lot")
    with pytest.raises(DataCheckError, match=r"found 400 bad rows of 400 .*expected at most 10%"):
        check_rows(make_dataset(), rows)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(DataCheckError, match="found no column fare, sex among age, town, outcome"):
        check_rows(make_dataset(), make_rows().drop(columns=["fare", "sex"]))


def test_without_a_key_equal_rows_count_once() -> None:
    rows = make_rows()
    assert len(check_rows(make_dataset(), pd.concat([rows, rows])).good) == len(rows)


def test_with_a_key_the_newest_row_counts() -> None:
    rows = make_rows().assign(number=[str(n) for n in range(400)])
    newer = rows.head(1).assign(fare="7.5")
    good = check_rows(make_dataset(key="number"), pd.concat([rows, newer])).good
    assert good.loc[good["number"] == "0", "fare"].tolist() == [7.5]


def test_labels_that_are_whole_numbers_become_numbers() -> None:
    rows = make_rows()
    numbered = rows.assign(outcome=(rows["outcome"] == "alive").astype(int).astype("str"))
    assert check_rows(make_dataset(), numbered).good["outcome"].dtype == "int64"
