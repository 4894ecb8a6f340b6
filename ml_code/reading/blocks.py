"""A part of a file: its valid records as a frame of text, and its invalid ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.csv

from ml_code.cells import clean_text

FIRST_BYTES = 8
"""Enough to tell a kind of file by."""

MEANS = frozenset({"average", "mean", "평균"})

TOTALS = MEANS | {
    "total", "totals", "grand total", "sum", "합계", "총계", "총합", "총합계", "계", "소계", "summe", "gesamt",
    "insgesamt", "合計",
}  # fmt: skip
"""What a spreadsheet's first or last row begins with where it is a total of the others."""

MOST_TOTALS = 6
"""Records at either end among which totals are."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """An invalid row: `line` is its first physical line (the header is 1); `column` may be empty."""

    line: int
    column: str
    reason: str
    raw: str

    def describe(self) -> str:
        """Line, column and what was expected, for a message: only the report in quarantine quotes a cell."""
        expected = self.reason.rpartition(", expected ")[2]
        if not self.column:
            return f"line {self.line}: {self.reason}"
        is_quoted = ", expected " in self.reason
        return f"line {self.line}: {self.column}: {f'expected {expected}' if is_quoted else 'found an invalid cell'}"


@dataclass(frozen=True, slots=True)
class Block:
    """Records of one part of a file.

    `lines`, `raw` (without line ends) and `frame` are the valid records, aligned; `bad` are the others. `frame` has
    str columns as in the header, a missing value for each empty cell, and a RangeIndex.
    """

    lines: list[int]
    raw: list[bytes]
    frame: pd.DataFrame
    bad: list[BadRow]


def parse_rows(header: list[str], raw: list[bytes], separator: str) -> pd.DataFrame:
    """The cells of valid records as text, in columns by the header; an empty cell is missing."""
    if not raw:
        return pd.DataFrame({name: pd.Series(dtype="str") for name in header})
    data = b"\n".join(raw)
    table = pa.csv.read_csv(
        pa.BufferReader(data),
        # One parser block: the ends of the records are already known.
        pa.csv.ReadOptions(column_names=header, block_size=len(data) + 1, use_threads=False),
        pa.csv.ParseOptions(delimiter=separator, newlines_in_values=True, ignore_empty_lines=False),
        pa.csv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.large_string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )
    frame: pd.DataFrame = table.to_pandas()
    return frame


def set_totals_apart(block: Block, *, at_start: bool = False, at_end: bool = False) -> Block:
    """The block without the totals of its rows, which are invalid, in its first or last records.

    In a column where another row has such a word too, it is a category. Records of one cell are notes beside totals.
    """
    rows = range(len(block.raw))
    first = _find_words(block.frame, rows) if at_start else {}
    last = _find_words(block.frame, rows[::-1]) if at_end else {}
    others = block.frame.drop([*first, *last])
    places = {*(first if _are_totals(block.frame, first, others) else ())}
    places |= {*(last if _are_totals(block.frame, last, others, at_end=True) else ())}
    if not places:
        return block
    totals = [
        BadRow(block.lines[place], "", "found a total, expected a row", show(block.raw[place])) for place in places
    ]
    kept = [place for place in rows if place not in places]
    frame = block.frame.iloc[kept].reset_index(drop=True)
    bad = sorted([*block.bad, *totals], key=lambda row: row.line)
    return Block([block.lines[place] for place in kept], [block.raw[place] for place in kept], frame, bad)


def _find_words(frame: pd.DataFrame, places: Sequence[int]) -> dict[int, tuple[str, str]]:
    """The first of these records that begin with a word for a total: its column, and the word."""
    found: dict[int, tuple[str, str]] = {}
    for place in places[:MOST_TOTALS]:
        cells = frame.iloc[place].dropna()
        filled = cells[cells.str.strip() != ""]
        if len(filled) == 1 < frame.shape[1]:
            continue
        if filled.empty or not is_total(filled.iloc[0]):
            break
        found[place] = (filled.index[0], clean_text(filled.iloc[0]))
    return found


def _are_totals(
    frame: pd.DataFrame, found: dict[int, tuple[str, str]], others: pd.DataFrame, *, at_end: bool = False
) -> bool:
    """Whether the words differ, no other row has one, and the numbers of a record are those of a total."""
    if len(set(found.values())) < len(found):
        return False
    if any(others[column].dropna().map(is_total).any() for column, _ in found.values()):
        return False
    return any(
        _sums_up(frame.iloc[place], others, column, may_be_mean=at_end and _fold(word) in MEANS)
        for place, (column, word) in found.items()
    )


def _sums_up(row: pd.Series, others: pd.DataFrame, column: str, *, may_be_mean: bool) -> bool:
    """Whether its numbers are those of a total, or only it names its column in letters.

    They are if one of them is the sum of the others, or each is at least the largest of them, or their mean.
    The `sum` of a table of functions and the `total` of a table of eclipses are rows.
    """
    names = others[column].dropna()
    if len(names) and not any(any(map(str.isalpha, name)) for name in names):
        return True
    own = _to_numbers(row.drop(column)).dropna()
    beside = {name: numbers for name in own.index if len(numbers := _to_numbers(others[name]).dropna())}
    if any(_is_sum(own[name], numbers) for name, numbers in beside.items()):
        return True
    return bool(beside) and all(
        own[name] >= numbers.max() or (may_be_mean and math.isclose(own[name], numbers.mean(), rel_tol=0.01))
        for name, numbers in beside.items()
    )


def _is_sum(number: float, others: pd.Series) -> bool:
    return len(others) > 2 and number > others.max() and math.isclose(number, others.sum(), rel_tol=0.01)


def _to_numbers(cells: pd.Series) -> pd.Series:
    return pd.to_numeric(cells.str.replace(r"[^0-9A-Za-z.-]", "", regex=True), errors="coerce")


def is_total(cell: str) -> bool:
    """Whether a cell is a word for a total of rows."""
    return _fold(cell) in TOTALS


def _fold(cell: str) -> str:
    return clean_text(cell).rstrip(" :").casefold()


def is_utf8(content: bytes) -> bool:
    """Whether the bytes are UTF-8."""
    if content.isascii():
        return True
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def describe_bytes(content: bytes) -> str:
    """Length and first bytes of content that was not accepted: an error quotes nothing else of it.

    >>> describe_bytes(b"root:x:0:0:root:/root:/bin/bash")
    '31 bytes that begin with 72 6f 6f 74 3a 78 3a 30'
    """
    return f"{len(content)} bytes that begin with {content[:FIRST_BYTES].hex(' ')}" if content else "0 bytes"


def show(content: bytes) -> str:
    """Bytes as text; those that are not UTF-8 as backslash escapes."""
    return content.decode(errors="backslashreplace")
