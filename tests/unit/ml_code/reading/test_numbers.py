"""Numbers in the forms in which people write them."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_code.cells import MISSING_MARKERS
from ml_code.reading.numbers import read_number, read_numbers, recognize_form
from ml_code.reading.rules import NumberForm, Reading


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        (["1", "2.5", "-3", "+4", "1e3", ".5", "5."], [1, 2.5, -3, 4, 1000, 0.5, 5]),
        (["450,000", "1,200,000", "90,000"], [450000, 1200000, 90000]),
        (["1,234.5", "999", "12,000.25"], [1234.5, 999, 12000.25]),
        (["3,75", "12,5", "100,0"], [3.75, 12.5, 100]),
        (["1.234,5", "999", "1.234.567,25"], [1234.5, 999, 1234567.25]),
        (["1.234.567", "999"], [1234567, 999]),
        (["1 234,5", "1\xa0234\xa0567", "9"], [1234.5, 1234567, 9]),
        (["1'234.50", "9"], [1234.5, 9]),
        (["1,00,000", "12,34,567"], [100000, 1234567]),
        (["₩1,000", "₩59", "-₩1,500", "₩-3"], [1000, 59, -1500, -3]),
        (["59㎡", "84.5 ㎡", "102"], [59, 84.5, 102]),
        (["$1,000.50", "($20.00)", "$3"], [1000.5, -20, 3]),
        (["12%", "7.5 %", "100%"], [12, 7.5, 100]),
        (["USD 1,000", "USD 20"], [1000, 20]),
        (["1.000 €", "20,50 €", "-3 €"], [1000, 20.5, -3]),
        (["3만원", "10만원"], [3, 10]),
        (["(500)", "500", "(1,500)"], [-500, 500, -1500]),
        (["\u22125", "5"], [-5, 5]),
        (["\u20135", "5", "6"], [-5, 5, 6]),
        (["5.5-", "6-", "7"], [-5.5, -6, 7]),
        (["$5-", "$6"], [-5, 6]),
        (["\uff11\uff12", "3", "\uff0d\uff14\uff0e\uff15"], [12, 3, -4.5]),
        (["\uff17\uff05", "8%"], [7, 8]),
        (["1\xa0234,5", "2\xa0345,0"], [1234.5, 2345]),
        (["1\u202f234,5", "2\u202f345,0"], [1234.5, 2345]),
        (["1\u2019234.5", "2\u2019345.0"], [1234.5, 2345]),
        (["18446744073709551616", "1"], [2**64, 1]),
        (["1e308", "1"], [1e308, 1]),
        (["$(20.00)", "$3"], [-20, 3]),
        (["\u25b37", "\u25b3 1,500", "5"], [-7, -1500, 5]),
        (["4.1/5", "3.9/5", "5.0/5"], [4.1, 3.9, 5]),
        (["4.5M", "0", "2M"], [4.5, 0, 2]),
        (["\\1,000", "\\500"], [1000, 500]),
        (["~5", "~3"], [5, 3]),
        (["350 m", "200"], [350, 200]),
        (["2 t", "3.5"], [2, 3.5]),
    ],
)
def test_a_column_is_read_in_the_form_that_it_is_written_in(texts: list[str], numbers: list[float]) -> None:
    form = recognize_form(texts, MISSING_MARKERS)
    read = read_numbers(pd.Series(texts), form, MISSING_MARKERS)
    assert not read.is_bad.any()
    assert read.numbers.tolist() == pytest.approx(numbers)


@pytest.mark.parametrize(
    "marker", ["NA", "N/A", "NULL", "nan", "NaN", "None", "-", "?", ".", "\\N", "#N/A", "inf", " "]
)
def test_a_marker_among_numbers_is_a_missing_value(marker: str) -> None:
    cells = pd.Series(["1.5", marker, "2"])
    form = recognize_form(cells, MISSING_MARKERS)
    read = read_numbers(cells, form, MISSING_MARKERS)
    assert not read.is_bad.any()
    assert read.numbers.isna().tolist() == [False, True, False]


def test_a_unit_without_its_number_is_a_missing_value() -> None:
    form = recognize_form(["815 CC", "998 CC", "null CC"], MISSING_MARKERS)
    assert math.isnan(read_number("null CC", form, MISSING_MARKERS) or 0)


@pytest.mark.parametrize(
    ("text", "number"),
    [("-99 kg", -99), ("+99 kg", 99), ("99 kg", math.nan), ("kg", math.nan), ("+", None), ("-", None)],
)
def test_a_marker_beside_a_unit_has_its_own_plus_or_minus(text: str, number: float | None) -> None:
    read = read_number(text, NumberForm(signs=["kg"]), frozenset({"99"}))
    assert read == (None if number is None else pytest.approx(number, nan_ok=True))


@pytest.mark.parametrize(
    "texts",
    [
        ["A100", "B200"],  # codes
        ["KK-08", "KK-06"],
        ["PAL0708", "PAL0809"],
        ["5 kg", "500 g"],  # two units
        ["1,5", "1.5"],  # two decimal signs
        ["12-34", "1:30", "1/2", "1_000", "0x10", "--5", "1,2,3", "1.2.3"],
        ["2026-01-02", "2026-01-03"],
        ["12%", "0.12", "40%", "0.4"],  # percent and shares
        ["<0.5", "<0.7", "1.2"],
        ["'007", "'010"],
        ['="007"', '="010"'],
        ["[1,2]", "[3,4]"],
        ["1.2k", "500", "900"],  # some in thousands
        ["1.2M", "500"],
        ["3만", "5000"],
        ["12 CR", "30"],  # a credit
        ["~5", "3"],  # about
        ["\u25b25", "3"],  # a rise, or a minus
        ["\u21935", "3"],
    ],
)
def test_a_column_of_other_texts_is_not_read_as_numbers(texts: list[str]) -> None:
    form = recognize_form(texts, MISSING_MARKERS)
    assert any(read_number(text, form, MISSING_MARKERS) is None for text in texts)


@pytest.mark.parametrize(("prefers_comma", "expected"), [(False, 1.234), (True, 1234)])
def test_three_digits_behind_a_point_are_thousands_where_the_file_has_decimal_commas(
    prefers_comma: bool, expected: float
) -> None:
    form = recognize_form(["1.234", "5.678"], MISSING_MARKERS, prefers_comma=prefers_comma)
    assert read_number("1.234", form, MISSING_MARKERS) == expected


@given(st.floats(-1e12, 1e12).map(lambda number: round(number, 2)))
def test_a_number_is_the_same_in_each_form(number: float) -> None:
    english = f"{number:,.2f}"
    german = english.translate(str.maketrans(",.", ".,"))
    for text, form in (
        (repr(number), NumberForm()),
        (english, NumberForm(thousands=",")),
        (german, NumberForm(decimal=",", thousands=".")),
        (f"€{german} km", NumberForm(decimal=",", thousands=".", signs=["€", "km"])),
    ):
        read = read_number(text, form, frozenset())
        assert read is not None
        assert math.isclose(read, number, abs_tol=1e-9)


def test_a_number_may_mean_a_missing_value() -> None:
    read = read_numbers(pd.Series(["-99", "5", "-99.0"]), NumberForm(), frozenset({"-99"}))
    assert read.numbers.isna().tolist() == [True, False, False]
    assert read.numbers.tolist()[1:] == [5, -99]


def test_a_column_without_signs_of_its_own_has_those_of_the_file() -> None:
    reading = Reading(decimal=",", thousands=".", columns={"price": NumberForm(signs=["€"])})
    assert read_number("1.234,5 €", reading.find_form("price"), frozenset()) == 1234.5


@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", ["1" * 500_000 + "x1", "1" + "." * 500_000 + "x1", "1e" + "1" * 500_000 + "x1"])
def test_a_long_cell_that_is_not_a_number_is_read_once_and_not_once_for_each_digit(text: str) -> None:
    form = recognize_form([text], MISSING_MARKERS)
    assert read_number(text, form, MISSING_MARKERS) is None
