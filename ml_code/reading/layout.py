"""Recognizes the layout of a table from its first lines: separator, header, title, comments and units."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ml_code.cells import MISSING_MARKERS, clean_text
from ml_code.reading.rules import SEPARATORS

SAMPLE_LINES = 500

MOST_TITLE_LINES = 20

LONGEST_UNIT = 12

NUMBERLIKE = re.compile(r"[^\w]{0,3}[0-9][0-9.,' ]*[^\w]{0,3}")
"""A number in any form, with a sign or two."""

SEP_LINE = re.compile(r'"?sep=.?"?', re.IGNORECASE)

COMMENTS = ("#", "%", "//")


@dataclass(frozen=True, slots=True)
class Layout:
    """The recognized keys of `[reading]`, and one sentence for each that differs from a plain CSV file.

    `values` is the text of the first line if it looks like a row, not like names.
    """

    keys: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    values: str | None = None


def recognize_layout(text: str) -> Layout:
    """Recognizes the layout from the start of a file."""
    keys: dict[str, Any] = {}
    notes: list[str] = []
    lines = text.split("\n")[: SAMPLE_LINES + MOST_TITLE_LINES]
    top = _count_preamble(lines)
    comment = next((mark for mark in COMMENTS if any(line.startswith(mark) for line in lines[:top])), "")
    if comment:
        keys["comment"] = comment
        notes.append(f"Lines that begin with {comment} are left out, because they are comments.")
    separator = _choose_separator([line for line in lines[top:] if line.strip()])
    if separator != ",":
        keys["separator"] = separator
        notes.append(f"The fields are separated by {_name(separator)}.")
    rows = _split(lines[top:], separator)
    titles = _count_titles(rows, _find_width(rows))
    if titles or any(not line.startswith(comment or "\n") for line in lines[:top]):
        keys["skip_lines"] = top + titles
        notes.append(f"The header is in line {top + titles + 1}; the lines above it are left out.")
    header, below = (rows[titles] if titles < len(rows) else []), [row for row in rows[titles + 1 :] if any(row)]
    _recognize_rows(header, below, keys, notes)
    return Layout(keys, notes, ", ".join(header) if _looks_like_values(header, below) else None)


def _looks_like_values(header: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether a header is a row of values: numbers over numbers, and not the years of a wide table."""
    names = [name for name in header if name]
    numbers = [name for name in names if NUMBERLIKE.fullmatch(name)]
    if not numbers or len(numbers) * 2 < len(names):
        return False
    is_over = [
        _is_number_column([row[place] for row in below if place < len(row)])
        for place, name in enumerate(header)
        if NUMBERLIKE.fullmatch(name)
    ]
    has_fraction = any("." in number for number in numbers)
    return all(is_over) and (has_fraction or len(numbers) == len(names) or len(set(names)) < len(names))


def _count_preamble(lines: Sequence[str]) -> int:
    """Lines above the table that are comments, blank, or the `sep=` of a spreadsheet."""
    for count, line in enumerate(lines):
        # `#,name,age` is a header.
        is_comment = any(
            line.startswith(mark) and line[len(mark) : len(mark) + 1] not in SEPARATORS for mark in COMMENTS
        )
        if line.strip() and not is_comment and not SEP_LINE.fullmatch(line.strip()):
            return count
    return 0


def _choose_separator(lines: Sequence[str]) -> str:
    """The sign that splits most lines into the same number of fields, the header among them."""
    best, score = ",", (0.0, 0)
    for separator in SEPARATORS:
        widths = [_count_fields(line, separator) for line in lines[:SAMPLE_LINES]]
        counts = Counter(width for width in widths if width > 1)
        if not counts:
            continue
        width, count = counts.most_common(1)[0]
        has_header = any(mine in {width, width - 1} for mine in widths[:3])
        if has_header and (found := (round(count / len(widths), 1), width)) > score:
            best, score = separator, found
    return best


def _count_fields(line: str, separator: str) -> int:
    return len(next(csv.reader([line], delimiter=separator), []))


def _split(lines: Sequence[str], separator: str) -> list[list[str]]:
    try:
        return [list(map(clean_text, row)) for row in csv.reader(lines, delimiter=separator, skipinitialspace=True)]
    except csv.Error:
        return [list(map(clean_text, line.split(separator))) for line in lines]


def _find_width(rows: Sequence[Sequence[str]]) -> int:
    counts = Counter(len(row) for row in rows if row)
    return counts.most_common(1)[0][0] if counts else 0


def _count_titles(rows: Sequence[Sequence[str]], width: int) -> int:
    """Lines above the header: blank ones, and those with a text in the first field alone."""
    for count, row in enumerate(rows[:MOST_TITLE_LINES]):
        is_title = not any(row) or (width > 1 and bool(row[0]) and not any(row[1:]))
        if not is_title:
            return count
    return 0


def _recognize_rows(
    header: Sequence[str], below: Sequence[Sequence[str]], keys: dict[str, Any], notes: list[str]
) -> None:
    longer = [row for row in below if len(row) == len(header) + 1]
    if header and len(longer) > len(below) / 2:
        if not any(row[-1] for row in longer):
            keys["extra_field"] = "last"
            notes.append("Each row ends with a separator, so its last field is left out.")
        elif _numbers_rows([row[0] for row in longer]):
            keys["extra_field"] = "first"
            notes.append("Each row begins with a field that the header does not name: the row's name.")
            header = ["", *header]
    if _is_unit_row(header, below):
        keys["unit_row"] = True
        notes.append("The line below the header is left out, because it holds units.")
    if len(header) > 1 and any(row and not any(row) for row in below):
        keys["skip_empty"] = True


def _numbers_rows(names: Sequence[str]) -> bool:
    return len(set(names)) == len(names)


def _is_unit_row(header: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    if len(below) < 3 or len(below[0]) != len(header):
        return False
    first, others = below[0], below[1:]
    places = [
        place for place in range(len(header)) if _is_number_column([row[place] for row in others if place < len(row)])
    ]
    units = [first[place] for place in places if first[place]]
    is_unit = all(
        len(unit) <= LONGEST_UNIT and not NUMBERLIKE.fullmatch(unit) and unit not in MISSING_MARKERS for unit in units
    )
    return bool(units) and is_unit and (len(units) > 1 or units[0][0] in "([")


def _is_number_column(cells: Sequence[str]) -> bool:
    present = [cell for cell in cells if cell and cell not in MISSING_MARKERS]
    return bool(present) and sum(bool(NUMBERLIKE.fullmatch(cell)) for cell in present) >= 0.9 * len(present)


def _name(separator: str) -> str:
    return {"\t": "tabs", ";": "semicolons", "|": "pipes"}.get(separator, separator)
