"""Recognizes the layout of a table from its first lines: separator, header, title, comments and units."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ml_code.cells import MISSING_MARKERS, clean_text
from ml_code.reading.header import (
    MOST_TITLE_LINES,
    count_titles,
    find_header,
    find_number_columns,
    is_numberlike,
    looks_like_values,
)
from ml_code.reading.rules import SEPARATORS

TOP_RECORDS = 20
"""Records among which the header is."""

LONGEST_RECORD_LINES = 100
"""Most physical lines of one record."""

SMALLEST_SHARE = 0.25
"""A separator that splits fewer records into one width is a sign of some text."""


SAMPLE_LINES = 500

LONGEST_UNIT = 12

SEP_LINE = re.compile(r'"?sep=(.?)"?', re.IGNORECASE)

COMMENTS = ("#", "%", "//")


@dataclass(frozen=True, slots=True)
class Layout:
    """The recognized keys of `[reading]`, and one sentence for each that differs from a plain CSV file.

    `values` is the text of the first line if it looks like a row, not like names.
    """

    keys: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    values: str | None = None


def recognize_layout(text: str, separator: str | None = None, wanted: str = "") -> Layout:
    """Recognizes the layout from the start of a file.

    Args:
        text: the first lines.
        separator: if it is known.
        wanted: name of a column that the header has, if one is known.
    """
    keys: dict[str, Any] = {}
    notes: list[str] = []
    if "\n" not in text and "\r" in text:
        keys["line_end"] = "cr"
        notes.append("Each line ends with a carriage return alone.")
        text = text.replace("\r", "\n")
    lines = [line.removesuffix("\r") for line in text.split("\n")[: SAMPLE_LINES + MOST_TITLE_LINES]]
    top = _count_preamble(lines, wanted)
    marks = (mark for mark in COMMENTS if any(line.startswith(mark) for line in lines[:top]))
    comment = next((mark for mark in marks if not "".join(lines[top : top + 1]).startswith(mark)), "")
    if comment:
        keys["comment"] = comment
        notes.append(f"Lines that begin with {comment} are left out, because they are comments.")
        lines[top:] = ["" if line.startswith(comment) else line for line in lines[top:]]
    records = join_lines(lines[top:])
    separator = separator or _find_named_separator(lines[:top])
    separator = separator or choose_separator([record for record in records if record.strip()])
    if separator != ",":
        keys["separator"] = separator
        notes.append(f"The fields are separated by {_name(separator)}.")
    rows = [_split(record, separator) for record in records]
    titles = count_titles(rows)
    titles = find_header(rows, wanted, titles) if wanted else titles
    if titles or any(not line.startswith(comment or "\n") for line in lines[:top]):
        # A record of several lines counts each of them.
        keys["skip_lines"] = top + sum(record.count("\n") + 1 for record in records[:titles])
        notes.append(f"The header is in line {keys['skip_lines'] + 1}; the lines above it are left out.")
    header, below = (rows[titles] if titles < len(rows) else []), [row for row in rows[titles + 1 :] if any(row)]
    _recognize_rows(header, below, keys, notes)
    return Layout(keys, notes, ", ".join(header) if looks_like_values(header, below) else None)


def _count_preamble(lines: Sequence[str], wanted: str) -> int:
    """Lines above the table that are comments, blank, or the `sep=` of a spreadsheet.

    A line that begins as a comment and has the wanted name is the header, as NumPy writes it.
    """
    for count, line in enumerate(lines):
        # `#,name,age` is a header.
        is_comment = any(
            line.startswith(mark) and line[len(mark) : len(mark) + 1] not in SEPARATORS for mark in COMMENTS
        )
        is_header = bool(wanted) and any(wanted in _split(line, separator) for separator in SEPARATORS)
        if line.strip() and (is_header or not is_comment) and not SEP_LINE.fullmatch(line.strip(" \r\ufeff")):
            return count
    return 0


def _find_named_separator(lines: Sequence[str]) -> str | None:
    """The separator that a `sep=` line names."""
    named = [match[1] for line in lines if (match := SEP_LINE.fullmatch(line.strip(" \r\ufeff")))]
    return next((mark for mark in named if mark in SEPARATORS), None)


def _split(record: str, separator: str) -> list[str]:
    return list(map(clean_text, split_fields(record, separator)))


def _recognize_rows(
    header: Sequence[str], below: Sequence[Sequence[str]], keys: dict[str, Any], notes: list[str]
) -> None:
    longer = [row for row in below if len(row) > len(header)]
    if header and len(longer) > len(below) / 2:
        if not any(any(row[len(header) :]) for row in longer):
            keys["extra_field"] = "last"
            notes.append("Each row ends with a separator, so its last field is left out.")
        elif all(len(row) == len(header) + 1 for row in longer) and _numbers_rows([row[0] for row in longer]):
            keys["extra_field"] = "first"
            notes.append("Each row begins with a field that the header does not name: the row's name.")
            header = ["", *header]
    if _is_unit_row(header, below):
        keys["unit_row"] = True
        notes.append("The line below the header is left out, because it holds units.")


def _numbers_rows(names: Sequence[str]) -> bool:
    return len(set(names)) == len(names)


def _is_unit_row(header: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether the first row holds units: short texts over numbers, and nothing that may be a value."""
    if len(below) < 3 or len(below[0]) != len(header):
        return False
    first, others = below[0], below[1:]
    places = find_number_columns(others)
    units = [first[place] for place in places if place < len(first) and first[place] not in MISSING_MARKERS]
    if any(len(unit) > LONGEST_UNIT or is_numberlike(unit) for unit in units) or not units:
        return False
    filled = [cell for cell in first if cell]
    columns = [{row[place] for row in others if place < len(row)} for place in range(len(first))]
    if any(cell in column for cell, column in zip(first, columns, strict=True) if cell and cell not in MISSING_MARKERS):
        return False  # a value, or a word for a missing one
    return len(units) > 1 or units[0][0] in "([" or (len(filled) == 1 and len(header) > 1)


def _name(separator: str) -> str:
    return {"\t": "tabs", ";": "semicolons", "|": "pipes"}.get(separator, separator)


@dataclass(frozen=True, slots=True)
class Split:
    """Records by one separator: the number of fields of each, and the most frequent number."""

    separator: str
    widths: list[int]
    width: int

    @property
    def share(self) -> float:
        """Share of the records of this width, from the first of them on."""
        rest = self.widths[self.widths.index(self.width) :]
        return rest.count(self.width) / len(rest)

    def is_full(self, place: int) -> bool:
        """Whether a record has the most frequent number of fields, or one less, as a header over names of rows."""
        return self.widths[place] in {self.width, self.width - 1}


def choose_separator(records: Sequence[str]) -> str:
    """The sign that splits the header and most records into the same number of fields; a comma if none does.

    A sign that leaves a record near the top whole, which another one splits into all its fields, is part of a text:
    the rows of `price;weight` may have decimal commas.
    """
    splits = [found for separator in SEPARATORS if (found := _count_fields(records, separator))]
    if not splits:
        return ","
    return max(
        splits, key=lambda split: (not _leaves_whole(split, splits), round(split.share, 2), split.width)
    ).separator


def _count_fields(records: Sequence[str], separator: str) -> Split | None:
    widths = [len(split_fields(record, separator)) for record in records]
    counts = Counter(width for width in widths if width > 1)
    if not counts:
        return None
    width, count = counts.most_common(1)[0]
    return Split(separator, widths, width) if count >= SMALLEST_SHARE * len(widths) else None


def _leaves_whole(split: Split, splits: Sequence[Split]) -> bool:
    return any(
        split.widths[place] == 1 and other.is_full(place) and other.widths[place] > 1
        for other in splits
        if other is not split
        for place in range(min(TOP_RECORDS, len(split.widths)))
    )


def split_fields(record: str, separator: str) -> list[str]:
    """The fields of a record, also of one with broken quotes."""
    try:
        return next(csv.reader([record], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:
        return record.split(separator)


def join_lines(lines: Sequence[str]) -> list[str]:
    """The records of the lines: a quote opens, and the next one closes, maybe some lines below."""
    records: list[str] = []
    place = 0
    while place < len(lines):
        quotes, end = 0, place
        for end in range(place, min(place + LONGEST_RECORD_LINES, len(lines))):
            quotes += lines[end].count('"')
            if quotes % 2 == 0:
                break
        else:
            end = place
        records.append("\n".join(lines[place : end + 1]))
        place = end + 1
    return records
