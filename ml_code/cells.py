"""The canonical cell: one value means the same in a CSV, a Parquet file, a JSON request and a tensor.

Text has no surrounding blanks and is in Unicode's form NFC. A missing category is the empty text.
"""

from __future__ import annotations

import re
import unicodedata

MISSING_MARKERS = frozenset({
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
    "?", "-", "--", "\u2013", "\u2014", "\u2212", ".", "..", "*", "\\N", "na", "none", "Null", "NONE", "NAN", "N.A.",
    "n.a.", "#DIV/0!", "#VALUE!", "#REF!", "#NUM!", "#NAME?", "#NULL!", "inf", "-inf", "+inf", "Inf", "-Inf", "+Inf",
    "INF", "-INF", "Infinity", "-Infinity", "NaT", "(null)", "(blank)", "N/D", "n/d", "TBD", "tbd", "nil",
    "unknown", "Unknown", "UNKNOWN", "missing", "Missing", "MISSING",
    "ND", "nd", "N.D", "N.D.", "n.d.", "NR", "N/R", "n/r", "SYSMIS", "No data", "no data", "No Data", "Not Available",
    "not available", "---", "----", "**", "***", "...", "\u2026", "k.A.", "k. A.", "keine Angabe", "s/d", "S/D", "#N/D",
    "#NV", "#WERT!", "#BEZUG!", "#ZAHL!", "#VALEUR!", "#\uac12!",
    "없음", "해당없음", "해당 없음", "미상", "결측", "모름", "알수없음", "알 수 없음", "결측치", "미측정", "측정불가",
    "자료없음", "자료 없음", "통신장애", "점검중", "비공개",
})  # fmt: skip
"""Texts that mean a missing value in a column of numbers: those of pandas, of spreadsheets and of people."""

LABEL_MARKERS = frozenset({"#N/A", "#N/A N/A", "#NA", "<NA>", "N/A", "NA", "NULL", "NaN", "nan", "null", "?", "n/a"})
"""Texts that mean a missing label. `None` and `none` are labels, such as the degree of a complication."""

TRUTHS = {"true": "True", "false": "False"}

BLANKS = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\ufeff\u200b"
"""Unicode's blanks, the byte order mark and the zero-width space."""

_WHOLE = re.compile(r"(-?)(0|[1-9][0-9]*)\.0+")


def clean_text(text: str) -> str:
    """The text in Unicode's form NFC, without surrounding blanks.

    >>> clean_text(" 서울 ") == "서울"
    True
    """
    if text.isascii():
        return text.strip()
    return unicodedata.normalize("NFC", text).strip(BLANKS)


def name_category(value: object) -> str:
    """The canonical text of a category or label; empty if it is missing.

    A truth value is "True" or "False" in any spelling. A whole number has no decimal places; leading zeros stay.

    >>> [name_category(value) for value in (" a ", True, "TRUE", 1.0, "1.0", "007", None, float("nan"))]
    ['a', 'True', 'True', '1', '1', '007', '', '']
    """
    if isinstance(value, str):
        text = clean_text(value)
    elif value is None or value != value:  # noqa: PLR0124  NaN is the one value that differs from itself
        return ""
    else:
        text = str(value)
    if text.endswith("0") and (whole := _WHOLE.fullmatch(text)):
        sign, digits = whole.groups()
        return digits if digits == "0" else sign + digits
    return TRUTHS.get(text.lower(), text) if len(text) in {4, 5} else text
