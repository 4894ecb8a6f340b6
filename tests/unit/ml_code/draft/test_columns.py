"""What a column is, by its cells and its name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from ml_code.draft.columns import Judged, judge_column
from ml_code.draft.names import is_identifier, is_owner, is_row_name

ROWS = 120


def judge(name: str, cells: Sequence[object]) -> Judged:
    return judge_column(name, pd.Series(cells, dtype="str"))


@pytest.mark.parametrize(
    "name",
    ["Id", "ID", "id", "USER_ID", "userid", "Loan_ID", "order_no", "PassengerId", "회원번호", "SK_ID_CURR", "objid"],
)
@pytest.mark.parametrize("first", [0, 1, 1000])
def test_a_unique_whole_number_that_is_named_as_an_identifier_is_the_key(name: str, first: int) -> None:
    assert judge_column(name, pd.Series(np.arange(first, first + ROWS, dtype=float))).kind == "key"


@pytest.mark.parametrize("name", ["index", "Unnamed: 0", "column 1", "row_number", "no", "No.", "번호", "S.No", "z"])
def test_numbers_of_the_rows_are_left_out(name: str) -> None:
    judged = judge_column(name, pd.Series(np.arange(1, ROWS + 1, dtype=float)))
    assert (judged.kind, judged.reason) == ("left out", f"it numbers the rows, from 1 to {ROWS}")


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("paid", np.arange(ROWS) % 2),  # it ends in "id"
        ("acid", np.arange(ROWS) * 0.25),
        ("age", np.arange(ROWS) % 60 + 20),
        ("year", np.arange(1900, 1900 + ROWS)),
        ("hits", np.arange(40, 40 + ROWS)),
        ("rooms", [np.nan, *range(1, ROWS)]),
    ],
)
def test_other_numbers_stay_numbers(name: str, cells: Sequence[float]) -> None:
    assert judge_column(name, pd.Series(cells, dtype="float64")).kind == "numeric"


@pytest.mark.parametrize("name", ["customer_id", "patientId", "contract no", "고객번호"])
def test_an_identifier_that_repeats_for_a_person_is_the_group(name: str) -> None:
    assert judge_column(name, pd.Series(np.arange(400) % 80, dtype="float64")).kind == "group"
    assert judge(name, [f"P{number % 80}" for number in range(400)]).kind == "group"


@pytest.mark.parametrize(
    "date",
    ["2026-01-{0:02}", "2026/1/{0}", "{0:02}.01.2026", "{0}/1/26", "2026-01-{0:02} 10:30:00", "2026-01-{0:02}T10:30Z",
     "{0} Jan 2026", "January {0}, 2026", "2026년 1월 {0}일", "20260101T", "10:{0:02}",
     "2026. 1. {0}.", "2026-01-{0:02}(월)", "2026-01-{0:02} 오후 3:05", "10시 {0}분",
     "2026-01-{0:02} 10:30 UTC", "2026-01-{0:02} 10:30:00.000 +0900", "Thu, {0:02} Jan 2026 10:00:00 GMT", "83:{0:02}",
     "January {0}th, 2026", "{0:02}JAN2026", "{0:02}JAN2026:10:30:00", "2026-W{0:02}"],
)  # fmt: skip
def test_a_date_is_not_a_category(date: str) -> None:
    cells = [date.format(number % 28 + 1) for number in range(ROWS)]
    if "{" not in date:
        cells = [f"202601{number % 28 + 1:02}" for number in range(ROWS)]
        assert "it is a date" in judge_column("day", pd.Series(cells, dtype="float64")).reason
        return
    assert "it is a date or time" in judge("sold", cells).reason


def test_leading_zeros_mean_a_code() -> None:
    judged = judge("zip", [f"{number % 60:05}" for number in range(ROWS)])
    assert judged.kind == "categorical"
    assert judged.cells.iloc[7] == "00007"
    assert judge("zip", [f"{number:05}" for number in range(ROWS)]).reason == "it has 120 codes, such as '00000'"


@pytest.mark.parametrize("name", ["zip_code", "우편번호", "Phone", "고객 연락처", "ZIP5", "region_cd", "행정동코드"])
def test_digits_of_a_column_that_is_named_after_codes_are_not_a_quantity(name: str) -> None:
    few = judge_column(name, pd.Series([np.nan, *(np.arange(ROWS) % 9 + 10110.0)]))
    assert (few.kind, few.cells.iloc[1]) == ("categorical", "10110")
    many = judge_column(name, pd.Series([np.nan, *(np.arange(ROWS) * 7 + 1e9)]))
    assert (many.kind, many.reason) == ("left out", "it has 120 codes, such as '1000000000'")


@pytest.mark.parametrize(
    "name", ["CD4", "cd420", "Cd", "COD", "nr_visitors", "nbr_habitants", "nr_of_rooms", "id_count"]
)
@pytest.mark.parametrize("cells", [np.arange(ROWS) * 7 % 997 + 40, np.arange(ROWS) % 60])
def test_counts_and_measurements_with_short_names_stay_numbers(name: str, cells: Sequence[float]) -> None:
    assert judge_column(name, pd.Series(cells, dtype="float64")).kind == "numeric"


@pytest.mark.parametrize("name", ["order_date", "주문일자", "Birthdate"])
def test_days_as_a_spreadsheet_numbers_them_are_a_date(name: str) -> None:
    days = pd.Series(45000.0 + np.arange(ROWS) % 50)
    assert "it is a date, such as 45000" in judge_column(name, days).reason
    assert judge_column("candidates", days).kind == "numeric"


def test_numbers_of_sixteen_digits_are_an_identifier() -> None:
    cards = pd.Series(4e15 + np.arange(ROWS) * 31)
    assert judge_column("card", cards).reason == "it is an identifier of many digits"


@pytest.mark.parametrize("quarter", ["2026Q{0}", "2026년 {0}분기", "2026 {0}/4", "Q{0} 2026"])
def test_a_quarter_of_a_year_is_a_date(quarter: str) -> None:
    assert "it is a date or time" in judge("sold", [quarter.format(number % 4 + 1) for number in range(ROWS)]).reason


def test_months_as_six_digits_are_a_date() -> None:
    months = pd.Series([202601.0 + number % 12 for number in range(ROWS)])
    assert "it is a date, such as 202601" in judge_column("STDR_YM_CD", months).reason
    assert judge_column("steps", months + 50).kind == "numeric"


@pytest.mark.parametrize("scale", [1, 100, 10_000])
def test_hours_and_minutes_behind_the_digits_of_a_day_are_a_date(scale: int) -> None:
    hours = pd.Series([(2026010100.0 + number % 28 * 100 + number % 24) * scale for number in range(ROWS)])
    assert "it is a date" in judge_column("발생일시", hours).reason


@pytest.mark.parametrize("name", ["order_no", "order_id", "주문번호"])
def test_a_serial_number_behind_the_digits_of_a_day_is_an_identifier(name: str) -> None:
    serials = pd.Series([202601010001.0 + number % 4 * 10_000 + number % 24 for number in range(12)])
    assert judge_column(name, serials).kind == "key"
    assert "it is a date" in judge_column("date_key", serials // 10_000).reason


@pytest.mark.parametrize("behind", [2360, 126000])
def test_sixty_minutes_or_seconds_are_no_time(behind: int) -> None:
    numbers = pd.Series([20260101.0 * 10 ** len(str(behind)) + behind - number for number in range(ROWS)])
    assert judge_column("code size", numbers).kind == "numeric"


def test_the_number_of_a_line_is_a_name() -> None:
    assert judge("line", [f"{number % 9 + 1}호선" for number in range(ROWS)]).kind == "categorical"


@pytest.mark.parametrize("text", ["Grade {0}", "Ward-{0}", "Route {0}"])
def test_a_word_and_two_digits_are_not_a_date(text: str) -> None:
    assert judge("place", [text.format(number % 12 + 10) for number in range(ROWS)]).kind == "categorical"


@pytest.mark.parametrize("word", ["unknown", "없음", "해당 없음", "TBD"])
def test_words_that_people_write_for_missing_numbers_are_read_so_and_said(word: str) -> None:
    judged = judge("mass", [word if number % 5 == 0 else str(number * 7) for number in range(ROWS)])
    assert judged.kind == "numeric"
    assert judged.notes == [f"mass: 24 cell(s) with missing values ({word})."]


@pytest.mark.parametrize("word", [".A", "Varies with device", "장비이상"])
def test_a_word_of_the_file_itself_that_repeats_among_quantities_means_missing(word: str) -> None:
    judged = judge("mass", [word if number % 5 == 0 else f"{number % 9}.5" for number in range(ROWS)])
    assert (judged.kind, judged.form.missing) == ("numeric", [word])
    assert judged.cells.isna().sum() == 24
    assert judged.notes == [f"mass: 24 cell(s) with missing values ({word})."]


def test_a_category_of_numbers_is_not_made_of_a_few_cells_in_silence() -> None:
    grades = judge("grade", [("K", *"123456789")[number % 10] for number in range(ROWS)])
    assert grades.kind == "categorical"
    assert grades.notes == ["grade: it is a category, because in 12 of 120 cells it is not a number, such as 'K'."]
    bounds = judge("lead", ["<0.5" if number % 7 == 0 else f"{number % 30}.5" for number in range(ROWS)])
    assert (bounds.kind, bounds.reason) == ("left out", "in 18 of 120 cells it is not a number, such as '<0.5'")


@pytest.mark.parametrize(("text", "said"), [("{0}-", "'1-' is read as -1"), ("({0})", "'(1)' is read as -1")])
def test_a_minus_that_stands_elsewhere_is_said(text: str, said: str) -> None:
    assert judge("balance", [text.format(number) for number in range(ROWS)]).notes == [f"balance: {said}."]


def test_long_whole_numbers_do_not_lose_their_digits() -> None:
    cells = [str(2**60 + number) for number in range(ROWS)]
    assert judge("account", cells).reason == "it is an identifier of many digits"
    key = judge("account_id", cells)
    assert key.kind == "key"
    assert key.cells.tolist() == cells


def test_few_other_cells_among_many_numbers_are_named() -> None:
    judged = judge("size", ["36+", *(f"{number}.5" for number in range(ROWS))])
    assert judged.kind == "numeric"
    assert judged.notes == ["size: 1 cell(s) of 121 are not numbers, such as '36+'."]
    mixed = judge("size", ["1,5", "1.5", *(f"{number},{number % 9}" for number in range(ROWS))][: ROWS // 2] + [
        f"{number}.{number % 9}" for number in range(ROWS // 2)
    ])  # fmt: skip
    assert mixed.kind == "left out"
    assert "cells it is not a number" in mixed.reason


def test_number_words_stay_a_category() -> None:
    assert judge("cylinders", [("4", "6", "8", "rotor")[number % 4] for number in range(ROWS)]).kind == "categorical"


def test_markers_of_missing_numbers_are_said_and_stay_texts_among_texts() -> None:
    numbers = judge("mass", ["NA", "?", *map(str, range(ROWS))])
    assert numbers.kind == "numeric"
    assert numbers.notes == ["mass: 2 cell(s) with missing values (?, NA)."]
    countries = judge("country", [("NA", "KR", "DE")[number % 3] for number in range(ROWS)])
    assert countries.kind == "categorical"
    assert countries.cells.iloc[0] == "NA"
    assert countries.notes == [
        'country: 40 cell(s) are the text "NA"; to make them missing, set missing = ["NA"] for it.'
    ]


@pytest.mark.parametrize(("cells", "reason"), [([None] * 9, "it is empty"), (["a"] * 9, "it has one value")])
def test_a_column_that_tells_nothing_is_left_out(cells: list[object], reason: str) -> None:
    assert judge("note", cells).reason == reason


@pytest.mark.parametrize("name", ["paid", "humidity", "x", "area", "number of rooms", "key_figure"])
def test_other_names_are_not_those_of_rows_or_persons(name: str) -> None:
    assert not is_row_name(name)
    assert not is_owner(name)


def test_the_last_word_tells_an_identifier() -> None:
    assert is_identifier("Loan ID")
    assert not is_identifier("ID card type")
    assert not any(map(is_identifier, ("amount_paid", "bid", "grid", "Covid", "humid")))
    assert not is_owner("customer_age")


def test_an_index_without_a_name_is_left_out_though_rows_are_lacking() -> None:
    cells = pd.Series([85.0, 86, 87, 91, *range(100, 200)])
    assert judge_column("column 1", cells).reason == "it has no name and differs in each row"
    assert judge("column 1", [f"Mazda {number}" for number in range(9)]).kind == "left out"


@pytest.mark.parametrize("name", ["id", "ID", "nr", "subject", "stratum", "pooled.stratum"])
def test_an_identifier_that_repeats_is_the_group(name: str) -> None:
    assert judge_column(name, pd.Series(np.arange(200) // 2, dtype="float64")).kind == "group"


def test_more_than_twenty_persons_are_a_group() -> None:
    assert judge("patient", [f"P{number % 25}" for number in range(200)]).kind == "group"
    assert judge("device", [("phone", "desktop")[number % 2] for number in range(200)]).kind == "categorical"


def test_a_text_among_numbers_is_no_reason_for_an_identifier() -> None:
    judged = judge("age", ["How old are you today?", *(str(number % 60) for number in range(ROWS))])
    assert (judged.kind, len(judged.invalid)) == ("numeric", 1)


def test_a_small_number_of_identifiers_is_a_category() -> None:
    judged = judge_column("store_id", pd.Series(np.arange(200) % 5, dtype="float64"))
    assert judged.kind == "categorical"
    assert judged.cells.iloc[3] == "3"


def test_texts_with_many_rows_each_are_categories() -> None:
    nations = [f"nation {number % 120}" for number in range(2400)]
    assert judge("nation", nations).kind == "categorical"
    assert judge("nation", nations[:240]).kind == "left out"
