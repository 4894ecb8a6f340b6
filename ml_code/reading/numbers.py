"""Numbers as people write them, to float64; the form of a column is recognized from its cells."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml_code.cells import clean_text
from ml_code.reading.rules import NumberForm

PLAIN = NumberForm()

FORMS = (
    PLAIN,
    NumberForm(thousands=","),
    NumberForm(decimal=",", thousands="."),
    NumberForm(thousands=" "),
    NumberForm(decimal=",", thousands=" "),
    NumberForm(thousands="'"),
)
"""In the order of preference, where several read as many cells."""

LONGEST_SIGN = 12

SIGN_SHARE = 0.2
"""Least share of numbers with a sign: one `36+` among thousands of numbers is not a unit."""

# Each run of digits is possessive: a cell may be a megabyte of digits and a letter.
_NUMBER = re.compile(r"(?:[0-9]++\.?[0-9]*+|\.[0-9]++)(?:[eE][+-]?[0-9]{1,3})?")
_GROUPED = re.compile(r"[0-9]{1,3}(?:T[0-9]{2,3})*T[0-9]{3}(?:\.[0-9]*)?")
_BESIDE = re.compile(
    r"([^0-9(+.,-]*)[(+-]{0,2}[^0-9]{0,4}?[0-9.][0-9.,' ]*+(?:[eE][+-]?[0-9]++)?([^0-9]*|/ ?[0-9]{1,4})"
)
"""The text before and after a number; the signs that look alike are already one."""

_CURRENCIES = {
    "USD", "EUR", "GBP", "JPY", "KRW", "CNY", "RMB", "CHF", "AUD", "CAD", "NZD", "HKD", "SGD", "INR", "SEK", "NOK",
    "DKK", "PLN", "CZK", "HUF", "TRY", "BRL", "MXN", "ZAR", "THB", "IDR", "MYR", "PHP", "TWD", "VND", "Rs", "Rs.", "RM",
    "US$", "HK$", "NT$", "S$", "A$", "C$", "R$", "kr",
}  # fmt: skip
"""Letters that stand before an amount; those of other texts, such as `KK-08`, are a code."""

_SAME_SIGN = str.maketrans(
    dict.fromkeys("\u2212\u2012\u2013\uff0d\u25b3\u25bd\u25bc", "-")
    | dict.fromkeys("\xa0\u202f\u2009", " ")
    | {"\uff0b": "+", "\u2019": "'", "\uff0c": ",", "\uff0e": ".", "\uff05": "%"}
    | {chr(0xFF10 + digit): str(digit) for digit in range(10)}
)
"""Signs that look alike, the triangles that mean minus in budgets, and the full-width digits of some keyboards."""

_NEVER_BEFORE = frozenset("\"'=<>\u2264\u2265\u2248[{\u25b2")
"""Before a number they mean a text, a bound, a list, or a rise or fall: `'007`, `<0.5`, `[1,2]`."""

_MULTIPLIERS = frozenset({
    "k", "K", "M", "mn", "mio", "million", "B", "bn", "mrd", "billion", "T", "tsd", "thousand", "cr", "dr", "crore",
    "lakh", "천", "천원", "만", "만원", "백만", "백만원", "억", "억원", "조", "千", "万", "萬", "億", "万円", "億円",
})  # fmt: skip
"""Units that change a number: where other numbers of the column lack them, they cannot be left out.

`350 m` and `2 t` are metres and tons.
"""

_NAMING = frozenset({"호선", "호", "동", "반", "번지", "번길"})
"""They make a name of a number: of a line, a house or a class of a school."""


@dataclass(frozen=True, slots=True)
class NumberCells:
    """A column as float64, NaN where missing or invalid, and a mask of the invalid cells; both have its index."""

    numbers: pd.Series
    is_bad: pd.Series


def read_number(text: str, form: NumberForm, markers: frozenset[str]) -> float | None:
    """Reads one cell: NaN if it is missing, None if it is not a number.

    >>> read_number("(1,500 €)", NumberForm(thousands=",", signs=["€"]), frozenset())
    -1500.0
    """
    text = clean_text(text)
    if not text or text in markers:
        return math.nan
    text = text.translate(_SAME_SIGN)
    digits, sign = _strip_signs(text, form.signs)
    if digits.startswith("(") and digits.endswith(")") and not sign:
        digits, sign = _strip_signs(digits[1:-1], form.signs)
        sign = "-" if not sign else "twice"
    if form.signs and digits != text and (sign + digits in markers or not sign + digits):
        return math.nan  # a unit without its number, such as `null kg`
    number = _read_digits(digits, form) if sign != "twice" else None
    return -number if number and sign == "-" else number


def _strip_signs(text: str, signs: Sequence[str]) -> tuple[str, str]:
    """The text without currency and unit signs, and its plus or minus."""
    found = ""
    for _ in range(2):  # the minus stands on either side of the currency
        if not found and text[:1] in {"+", "-"}:
            found, text = text[0], text[1:].lstrip()
        for sign in signs:
            text = text.removeprefix(sign).removesuffix(sign).strip()
    if not found and len(text) > 1 and text.endswith("-"):  # as accounting programs write it
        found, text = "-", text[:-1].rstrip()
    return text, found


def _read_digits(text: str, form: NumberForm) -> float | None:
    if form.thousands:
        marked = text.replace("T", "t").replace(form.thousands, "T")
        marked = marked.replace(form.decimal, ".")
        if _GROUPED.fullmatch(marked):
            return float(marked.replace("T", ""))
        if form.thousands in text:
            return None
    if form.decimal == ",":
        if "." in text:
            return None
        text = text.replace(",", ".")
    return float(text) if _NUMBER.fullmatch(text) else None


def read_numbers(cells: pd.Series, form: NumberForm, markers: frozenset[str]) -> NumberCells:
    """Reads a column.

    Args:
        cells: texts, missing ones as None or NaN; or numbers, which stay.
        form: how the numbers are written.
        markers: texts that mean a missing value.
    """
    if pd.api.types.is_numeric_dtype(cells):
        numbers = cells.astype("float64")
        return NumberCells(numbers, pd.Series(np.isinf(numbers), index=cells.index))
    numbers = pd.Series(np.nan, index=cells.index, dtype="float64")
    # A marker such as -99 is a number, too.
    has_number_marker = any(_NUMBER.fullmatch(marker.lstrip("+-")) for marker in markers)
    if form.decimal == "." and form.thousands != "." and not has_number_marker:
        numbers = pd.to_numeric(cells, errors="coerce").astype("float64")
        # Python's "inf" and "nan" are texts for people.
        numbers = numbers.where(np.isfinite(numbers))
    rest = cells[numbers.isna() & cells.notna()]
    codes, distinct = pd.factorize(rest)
    found = [read_number(str(text), form, markers) for text in distinct]
    values = np.array([math.nan if number is None else number for number in found], dtype=np.float64)
    is_bad = pd.Series(data=False, index=cells.index)
    if len(rest):
        numbers[rest.index] = values[codes]
        is_bad[rest.index] = np.array([number is None for number in found])[codes]
    return NumberCells(numbers, is_bad)


def recognize_form(texts: Iterable[str], markers: frozenset[str], *, prefers_comma: bool = False) -> NumberForm:
    """The form that reads most of the texts; the plain one if no form reads any.

    Args:
        texts: distinct cells of a column.
        markers: texts that mean a missing value.
        prefers_comma: whether the file has decimal commas elsewhere, so that 1.234 counts as 1234.
    """
    present = [text.translate(_SAME_SIGN) for text in map(clean_text, texts) if text and text not in markers]
    signs = _find_signs(present)
    best, most = PLAIN, 0
    forms = sorted(FORMS, key=lambda form: form.decimal != ",") if prefers_comma else FORMS
    for form in forms:
        signed = form.model_copy(update={"signs": signs})
        count = sum(read_number(text, signed, markers) is not None for text in present)
        if count > most:
            best, most = signed, count
    if not any(best.thousands and best.thousands in text for text in present):
        best = best.model_copy(update={"thousands": ""})
    if best.decimal == "," and not any("," in text for text in present) and not best.thousands:
        best = best.model_copy(update={"decimal": "."})
    return best


def _find_signs(texts: Sequence[str]) -> list[str]:
    """The sign before and the sign after the numbers, if each is one and the same."""
    before, after = Counter[str](), Counter[str]()
    for text in texts:
        if text.strip("0.,") and (beside := _BESIDE.fullmatch(text)):  # zero needs no unit
            before[beside[1].strip()] += 1
            after[beside[2].strip().removesuffix(")").strip()] += 1
    signs: list[str] = []
    if _mixes_percent(texts):
        return signs
    for counts, is_sign in ((before, _is_currency), (after, _is_unit)):
        bare = counts.pop("", 0)
        is_usual = counts.total() >= SIGN_SHARE * (bare + counts.total())
        if len(counts) == 1 and is_usual and is_sign(sign := next(iter(counts)), is_everywhere=not bare):
            signs.append(sign)
    return list(dict.fromkeys(signs))


def _mixes_percent(texts: Sequence[str]) -> bool:
    """Whether some cells are percent, such as 12%, and others shares, such as 0.12."""
    percents = [text for text in texts if text.endswith("%")]
    others = [text for text in texts if not text.endswith("%") and _NUMBER.fullmatch(text)]
    shares = [number for text in others if (number := float(text))]
    is_large = any(_NUMBER.fullmatch(text := cell[:-1].strip()) and float(text) > 1 for cell in percents)
    return is_large and bool(shares) and max(shares) <= 1


def _is_currency(text: str, *, is_everywhere: bool) -> bool:
    """Whether it may stand before a number: a currency, or some sign that all numbers have.

    The `A` of `A100` is a code. A sign that only some numbers have may turn them.
    """
    is_symbol = all(unicodedata.category(letter) == "Sc" or letter == "\\" for letter in text)
    is_known = is_symbol or text in _CURRENCIES or (is_everywhere and not any(map(str.isalpha, text)))
    return is_known and len(text) <= LONGEST_SIGN and not _NEVER_BEFORE.intersection(text)


def _is_unit(text: str, *, is_everywhere: bool) -> bool:
    """Whether it may stand behind a number; `2호선` is the name of a line."""
    unit = text.rstrip(".")
    changes = text.startswith("/") or (unit.casefold() if len(unit) > 1 else unit) in _MULTIPLIERS
    return (
        0 < len(text.strip("-")) <= len(text) <= LONGEST_SIGN and text not in _NAMING and (is_everywhere or not changes)
    )
