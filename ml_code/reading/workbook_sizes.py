"""The size of a workbook once it is unpacked, read before the library takes the memory for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO
from xml.parsers import expat

from ml_code.errors import SourceError

LARGEST_TABLE_MB = 500
"""Limit of the unpacked size: a megabyte of a workbook can hold gigabytes."""

MOST_CELLS = 20_000_000
"""From a sheet's first cell to its last one: all of them are held in memory, however few have a value."""

_PLACE = re.compile(rb"""\br\s*=\s*["']([A-Za-z]{0,7})([0-9]{1,10})["']""")
"""Column and row of a cell of a worksheet, or the number of a row, in each way in which XML writes it."""

_UNPLACED = re.compile(rb"<(?:[\w.-]+:)?(?:(c)(?=[\s/>])(?!\s+r\s*=)|(row)(?=[\s/>])(?!\s+r\s*=))|</(?:[\w.-]+:)?row\b")
"""A cell, or a row, that follows the one before, and the end of a row."""

LONGEST_TAG = 100_000
"""Bytes of a tag whose parts are found together where a read ends within it."""

_CELLS = frozenset({"table:table-cell", "table:covered-table-cell"})


@dataclass(slots=True)
class Extent:
    """The last row and column of a worksheet, as far as it was read; both may be estimated too high.

    Each part of an archive may be a worksheet, because the workbook says which ones are.
    """

    rows: int = 0
    columns: int = 0
    unplaced_rows: int = 0
    unplaced_columns: int = 0
    unplaced_cells: int = 0
    rest: bytes = b""

    def add(self, chunk: bytes, name: str) -> None:
        """Refuses a sheet whose cells lie too far apart."""
        text = self.rest + chunk
        end = max(text.rfind(b"<"), len(text) - LONGEST_TAG)
        text, self.rest = text[:end], text[end:]
        places = _PLACE.findall(text + self.rest)
        self.rows = max([self.rows, *(int(row) for _, row in places)])
        self.columns = max([self.columns, *map(_number_column, {column for column, _ in places})])
        for cell, row in _UNPLACED.findall(text):
            self.unplaced_rows += bool(row)
            self.unplaced_cells = self.unplaced_cells + 1 if cell else 0
            self.unplaced_columns = max(self.unplaced_columns, self.unplaced_cells)
        _refuse_extent((self.rows + self.unplaced_rows) * (self.columns + self.unplaced_columns), name)


def _number_column(letters: bytes) -> int:
    """27 of AA."""
    number = 0
    for letter in letters.upper():
        number = 26 * number + letter - ord("A") + 1
    return number


def refuse_repeated(content: IO[bytes], name: str) -> None:
    """Refuses an OpenDocument workbook in which a few repeated rows, cells or blanks stand for too many."""
    counted = _Repeats(name)
    # By the prefixes as they are written, which are what the library reads.
    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = counted.start, counted.end
    while chunk := content.read(1_000_000):
        parser.Parse(chunk)
    parser.Parse(b"", True)


class _Repeats:
    """Counts the cells of an OpenDocument workbook as the library unpacks them: empty ones count before filled ones."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._unpacked = self._blanks = 0
        self._rows = self._empty_rows = self._repeated_rows = self._columns = 0
        self._cells = self._empty_cells = self._columns_of_row = 0

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """Takes the start of an element."""
        if tag == "table:table":
            self._rows = self._empty_rows = self._columns = 0
        elif tag == "table:table-row":
            self._cells = self._empty_cells = self._columns_of_row = 0
            self._repeated_rows = int(attributes.get("table:number-rows-repeated", 1))
        elif tag in _CELLS:
            self._add_cell(int(attributes.get("table:number-columns-repeated", 1)), attributes)
        elif tag == "text:s":
            self._blanks += int(attributes.get("text:c", 1))
            if self._blanks > LARGEST_TABLE_MB * 1_000_000:
                raise refuse_size(self._name)

    def end(self, tag: str) -> None:
        """Takes the end of an element."""
        if tag != "table:table-row":
            return
        self._empty_rows += self._repeated_rows
        if self._columns_of_row:
            self._rows, self._empty_rows = self._rows + self._empty_rows, 0
            self._columns = max(self._columns, self._columns_of_row)
        _refuse_extent(self._rows * self._columns, self._name)

    def _add_cell(self, repeated: int, attributes: Mapping[str, str]) -> None:
        is_filled = any(key.startswith("office:") or key == "table:formula" for key in attributes)
        unpacked = self._empty_cells + (repeated if is_filled else 0)
        self._cells += unpacked
        self._unpacked += unpacked
        self._empty_cells = 0 if is_filled else repeated
        if is_filled:
            self._columns_of_row = self._cells
        _refuse_extent(self._unpacked, self._name)


def _refuse_extent(cells: int, name: str) -> None:
    if cells > MOST_CELLS:
        raise SourceError(
            f"file {name}: found a sheet of {cells} cells from its first to its last one, expected at most "
            f"{MOST_CELLS}; delete what lies far from the table, or save the table as CSV UTF-8"
        )


def refuse_size(name: str) -> SourceError:
    """The error of a file that unpacks to too much."""
    return SourceError(
        f"file {name}: found rows of more than {LARGEST_TABLE_MB} MB once unpacked, expected at most that, "
        "which fits the memory; split the file"
    )
