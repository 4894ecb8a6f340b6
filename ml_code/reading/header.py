"""Finds the header of a table: below titles, and made of names, not of values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from ml_code.cells import MISSING_MARKERS
from ml_code.reading.grammar import clean_name

MOST_TITLE_LINES = 20

YEARS = range(1500, 2200)

NUMBERLIKE = re.compile(r"[^\w]{0,3}[0-9][0-9.,' ]*[^\w]{0,3}")
"""A number in any form, with a sign or two."""

type Rows = Sequence[Sequence[str]]


def is_numberlike(text: str) -> bool:
    """Whether a text may be a number."""
    return bool(NUMBERLIKE.fullmatch(text))


def find_number_columns(rows: Rows) -> list[int]:
    """The places of the columns that hold numbers."""
    width = find_width(rows)
    return [place for place in range(width) if _is_number_column([row[place] for row in rows if place < len(row)])]


def find_width(rows: Rows) -> int:
    """The most frequent number of fields."""
    counts = Counter(len(row) for row in rows if row)
    return counts.most_common(1)[0][0] if counts else 0


def count_titles(rows: Rows) -> int:
    """Records above the header: blank ones, and texts that are not in the columns of the table."""
    width, count = find_width(rows), 0
    while count < min(MOST_TITLE_LINES, len(rows)) and (not any(rows[count]) or _is_title(rows, count, width)):
        count += 1
    # A file of titles alone has its header in the first line.
    return count if count < len(rows) and any(rows[count]) else 0


def find_header(rows: Rows, wanted: str, titles: int) -> int:
    """The place of the header: another than below the titles only if that lacks the wanted name and a later one has it.

    A cell that repeats below it, or a record with numbers over numbers, is a row.
    """
    if titles < len(rows) and wanted in map(clean_name, rows[titles]):
        return titles
    for place, row in enumerate(rows[:MOST_TITLE_LINES]):
        names, below = list(map(clean_name, row)), rows[place + 1 :]
        if wanted not in names:
            continue
        column = names.index(wanted)
        is_repeated = any(column < len(other) and other[column] == row[column] for other in below)
        is_over = any(is_numberlike(row[number]) for number in find_number_columns(below) if number < len(row))
        return titles if is_repeated or is_over else place
    return titles


def _is_title(rows: Rows, place: int, width: int) -> bool:
    row, below = rows[place], rows[place + 1 :]
    is_alone = width > 1 and bool(row[0]) and not any(row[1:])
    if width < 2 or not below or (not is_alone and len(row) >= width):
        return False
    following = next((other for other in below if any(other)), [])
    numbers = find_number_columns([other for other in below if other is not following])
    is_header = len(following) >= width - 1 and not any(
        is_numberlike(following[column]) for column in numbers if column < len(following)
    )
    # Names of rows stand below no column's name, so their header is shorter than its rows.
    return is_header and (is_alone or not any(below[0]) or (bool(numbers) and len(following) >= width))


def looks_like_values(header: Sequence[str], below: Rows) -> bool:
    """Whether a header is a row of values: numbers over numbers, or words that its columns hold below."""
    names = [name for name in header if name]
    places = [place for place, name in enumerate(header) if name]
    numbers = [name for name in names if is_numberlike(name)]
    columns = {place: [row[place] for row in below if place < len(row)] for place in places}
    is_over = all(_is_number_column(columns[place]) for place in places if is_numberlike(header[place]))
    is_row = bool(numbers) and is_over and not _is_series(numbers, is_indexed=len(numbers) < len(header))
    if len(numbers) * 2 >= len(names):
        return is_row
    others = [row for row in below if list(row) != list(header)]
    held = [place for place in places if any(place < len(row) and row[place] == header[place] for row in others)]
    likely = len(held) + (len(numbers) if is_row else 0)
    return bool(held) and likely >= 2 and likely * 2 > len(names)


def _is_series(names: Sequence[str], *, is_indexed: bool) -> bool:
    """Whether names are years, or numbers in even steps, as those of measuring points or of pandas."""
    if not all(name.isdecimal() and len(name) < 10 for name in names):
        return False
    numbers = list(map(int, names))
    steps = {after - before for before, after in pairwise(numbers)}
    if all(number in YEARS for number in numbers) and all(step != 0 for step in steps):
        return len(set(numbers)) == len(numbers)
    return len(steps) == 1 and 0 not in steps and (len(numbers) > 2 or (is_indexed and steps == {1}))


def _is_number_column(cells: Sequence[str]) -> bool:
    present = [cell for cell in cells if cell and cell not in MISSING_MARKERS]
    return bool(present) and sum(map(is_numberlike, present)) >= 0.9 * len(present)
