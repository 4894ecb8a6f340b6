"""What a field and a row of a CSV file look like, for each separator."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from ml_code.cells import clean_text

SHOWN_HEADER = 200
"""Characters of the names of columns in an error."""


@dataclass(frozen=True)
class Grammar:
    """Patterns of the fields and rows of a file with one separator (a single byte)."""

    separator: bytes

    @cached_property
    def field(self) -> bytes:
        """A field, quoted or not."""
        return rb'(?:"(?:[^"]++|"")*+"|[^"' + re.escape(self.separator) + rb"\r\n]*+)"

    @cached_property
    def fields(self) -> re.Pattern[bytes]:
        """Finds each field of a valid row."""
        return re.compile(b"(?:^|" + re.escape(self.separator) + b")(" + self.field + b")")

    @cached_property
    def row(self) -> re.Pattern[bytes]:
        """A valid row of any width."""
        return re.compile(self.field + b"(?:" + re.escape(self.separator) + self.field + b")*+")

    @cached_property
    def loose_quotes(self) -> re.Pattern[bytes]:
        """A separator with blanks before or after a quoted field."""
        blank = rb"[ \t]+" if self.separator != b"\t" else b" +"
        mark = re.escape(self.separator)
        return re.compile(b"(?<=" + mark + b")" + blank + b'(?=")|(?<=")' + blank + b"(?=" + mark + b"|$)")

    @cached_property
    def empty(self) -> re.Pattern[bytes]:
        """A line without any value."""
        return re.compile(rb"\n[ \t" + re.escape(self.separator) + rb"]+\r?(?=\n|\Z)")

    def make_row(self, width: int) -> re.Pattern[bytes]:
        """A valid row of one width."""
        return re.compile(self.field + b"(?:" + re.escape(self.separator) + self.field + b"){%d}" % (width - 1))

    def split(self, row: bytes) -> list[bytes]:
        """The fields of a valid row, without their quotes."""
        return [_unquote(field) for field in self.fields.findall(row)]


def clean_name(text: str) -> str:
    r"""A column's name as people read it: line breaks and other unprintable characters become one blank.

    >>> clean_name("distance\n(km)")
    'distance (km)'
    """
    text = clean_text(text)
    if text.isprintable():
        return text
    return re.sub(r"\0+", " ", "".join(letter if letter.isprintable() else "\0" for letter in text)).strip()


def name_columns(names: Sequence[str]) -> list[str]:
    """The names, with `column 3` for the third if it has none.

    >>> name_columns(["", "age"])
    ['column 1', 'age']
    """
    return [name or f"column {place}" for place, name in enumerate(names, start=1)]


def show_columns(names: Sequence[str], expected: Collection[str]) -> str:
    """Column names for an error, shortened if they are long.

    Without any expected name they may be the first line of a file that is not a table, and their number must do.
    """
    if not set(names).intersection(expected):
        return f"({len(names)} other names)"
    text = ", ".join(names)
    return text if len(text) <= SHOWN_HEADER else f"{text[:SHOWN_HEADER]}... ({len(names)} columns)"


def _unquote(field: bytes) -> bytes:
    return field[1:-1].replace(b'""', b'"') if field.startswith(b'"') else field
