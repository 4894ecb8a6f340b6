"""Streams a CSV file in blocks of complete records and separates malformed ones."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import BinaryIO, cast

import pandas as pd
import pyarrow as pa
import pyarrow.csv

from ml_code.errors import SourceError

BLOCK_BYTES = 4 * 1024 * 1024
"""Size of a read: large enough for a fast parser call, small enough for a flat memory."""

RECORD_BYTES = 1024 * 1024
"""Longest valid record: without a limit, a file without line ends would fill the memory."""

RECORD_LINES = 100
"""Most physical lines of one record: an unclosed quote costs one line, not the rest of the file."""

SHOWN_BYTES = 1000
"""Length of the raw text of an overlong line, and of any line in an error."""

BOM = b"\xef\xbb\xbf"

_FIELD = rb'(?:"(?:[^"]++|"")*+"|[^",\r\n]*+)'
_FIELDS = re.compile(rb"(?:^|,)(" + _FIELD + rb")")
_CLEAN = re.compile(_FIELD + rb"(?:," + _FIELD + rb")*+")


@dataclass(frozen=True, slots=True)
class BadRow:
    """An invalid row: `line` is its first physical line (the header is 1); `column` may be empty."""

    line: int
    column: str
    reason: str
    raw: str


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


class CsvRecords:
    """The records of one CSV file, read once from start to end; a file named `.gz` is unpacked on the way.

    >>> records = CsvRecords(stream, "employees.csv")
    >>> records.header
    ['employee_id', 'name']
    >>> sum(len(block.frame) for block in records)
    1000000
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        """Reads the header.

        Raises:
            SourceError: the file is empty, or is named `.gz` and is not a gzip file.
            SourceError: the header is not UTF-8, has broken quotes, or an empty or repeated column name.
        """
        self._name = name
        self._stream = cast("BinaryIO", gzip.GzipFile(fileobj=stream)) if name.endswith(".gz") else stream
        first, _, self._rest = self._read(RECORD_BYTES).removeprefix(BOM).partition(b"\n")
        self.header = self._parse_header(first.removesuffix(b"\r"))
        repeated = b"(?:," + _FIELD + b"){%d}" % (len(self.header) - 1)
        self._row = re.compile(_FIELD + repeated)

    def __iter__(self) -> Iterator[Block]:
        """Reads the file block by block.

        Raises:
            SourceError: the gzip file is truncated or damaged, or no row follows the header.
        """
        line, is_last, has_rows = 2, False, False
        while not is_last:
            data, partial, is_last = self._read_lines()
            lines = _Lines(self.header, self._row, data, line, is_last)
            block, used, rest = lines.sort()
            self._rest = rest + partial
            line += used
            has_rows = has_rows or bool(block.raw or block.bad)
            yield block
        if not has_rows:
            raise self._refuse("a header and no rows", "at least one row below it")

    def _read_lines(self) -> tuple[bytes, bytes, bool]:
        """Reads complete lines, the start of the next one, and whether the file ends here."""
        chunk = self._read(BLOCK_BYTES)
        data = self._rest + chunk
        if len(chunk) < BLOCK_BYTES:
            return data, b"", True
        end = data.rfind(b"\n") + 1
        partial = data[end:]
        if len(partial) > RECORD_BYTES:
            partial = partial[: RECORD_BYTES + 1] + self._skip_line()
        return data[:end], partial, False

    def _skip_line(self) -> bytes:
        """Drops the rest of an overlong line and returns the bytes after it, including its line end."""
        while chunk := self._read(BLOCK_BYTES):
            if (end := chunk.find(b"\n")) >= 0:
                return chunk[end:]
        return b""

    def _read(self, size: int) -> bytes:
        """Reads the whole requested size, except at the end: a network stream returns smaller pieces."""
        parts, missing = [], size
        try:
            while missing and (part := self._stream.read(missing)):
                parts.append(part)
                missing -= len(part)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self._refuse(f"a truncated or damaged gzip file ({error})", "a whole one") from error
        return b"".join(parts)

    def _parse_header(self, line: bytes) -> list[str]:
        if not line and not self._rest:
            raise self._refuse("an empty file", "a header and rows")
        if len(line) >= RECORD_BYTES or b"\0" in line or not _CLEAN.fullmatch(line):
            raise self._refuse(
                f"the first line {_show(line[:SHOWN_BYTES])!r}",
                "a header of comma-separated names on one line, ended by LF or CRLF",
            )
        try:
            names = [_unquote(field).decode() for field in _FIELDS.findall(line)]
        except UnicodeDecodeError as error:
            raise self._refuse(f"the header {_show(line[:SHOWN_BYTES])!r}", "UTF-8") from error
        if len(set(names)) < len(names) or not all(name.strip() for name in names):
            raise self._refuse(f"the column names {show_names(names)}", "unique names, none of them empty")
        return names

    def _refuse(self, found: str, expected: str) -> SourceError:
        return SourceError(f"file {self._name}: found {found}, expected {expected}; fix the file and load it again")


class _Lines:
    """The complete lines of one part; the first is line `first` of the file."""

    def __init__(self, header: list[str], row: re.Pattern[bytes], data: bytes, first: int, is_last: bool) -> None:
        self._header, self._row, self._data, self._first, self._is_last = header, row, data, first, is_last
        self._physical = data.removesuffix(b"\n").split(b"\n") if data else []
        has_cr = b"\r" in data
        self._lines = [line.removesuffix(b"\r") for line in self._physical] if has_cr else self._physical

    def sort(self) -> tuple[Block, int, bytes]:
        """Returns the block, its number of lines, and the rest: a record that continues after the last line."""
        numbers: list[int] = []
        raw: list[bytes] = []
        bad: list[BadRow] = []
        position = 0

        def keep_until(end: int) -> None:
            raw.extend(self._lines[position:end])
            numbers.extend(range(self._first + position, self._first + end))

        for index in self._find_suspects():
            if index < position:
                continue
            keep_until(index)
            end = self._find_end(index)
            if end is None:
                rest = b"".join(line + b"\n" for line in self._physical[index:])
                return Block(numbers, raw, _parse_rows(self._header, raw), bad), index, rest
            record = b"\n".join([*self._physical[index : end - 1], self._lines[end - 1]])
            fault = self._find_fault(self._first + index, record) if record else None
            if fault:
                bad.append(fault)
            elif record:
                raw.append(record)
                numbers.append(self._first + index)
            position = end
        keep_until(len(self._lines))
        return Block(numbers, raw, _parse_rows(self._header, raw), bad), len(self._lines), b""

    def _find_suspects(self) -> list[int]:
        """Indexes of the lines that fail the fast tests; nearly all rows pass these."""
        lines, commas, is_row = self._lines, len(self._header) - 1, self._row.fullmatch
        data = self._data
        suspects = {index for index, line in enumerate(lines) if line.count(b",") != commas}
        if b'"' in data or b"\r" in data:
            special = {index for index, line in enumerate(lines) if b'"' in line or b"\r" in line}
            suspects = (suspects - special) | {index for index in special if not is_row(lines[index])}
        if not commas or max(map(len, lines), default=0) > RECORD_BYTES:
            suspects.update(index for index, line in enumerate(lines) if not line or len(line) > RECORD_BYTES)
        if b"\0" in data or not _is_utf8(data):
            suspects.update(index for index, line in enumerate(lines) if b"\0" in line or not _is_utf8(line))
        return sorted(suspects)

    def _find_end(self, index: int) -> int | None:
        """Index after the last line of the record; None if it may end in lines that are not read yet.

        A quote opens and the next one closes. So the record ends on the first line after which the number of quotes
        is even. If that is not a row, its first line is invalid and reading continues after it.
        """
        lines = self._physical[index : index + RECORD_LINES]
        quotes = accumulate(line.count(b'"') for line in lines)
        count = next((count for count, number in enumerate(quotes, start=1) if number % 2 == 0), None)
        if count is None:
            size = sum(map(len, lines))
            is_open = not self._is_last and len(lines) < RECORD_LINES and size <= RECORD_BYTES
            return None if is_open else index + 1
        if count > 1 and not self._row.fullmatch(b"\n".join(lines[:count]).removesuffix(b"\r")):
            return index + 1
        return index + count

    def _find_fault(self, line: int, record: bytes) -> BadRow | None:
        if len(record) > RECORD_BYTES:
            reason = f"found a record of more than {RECORD_BYTES} bytes, of which these are the first {SHOWN_BYTES}"
            return BadRow(line, "", reason, _show(record[:SHOWN_BYTES]))
        if not _CLEAN.fullmatch(record):
            is_quoted = b'"' in record
            reason = "broken quotes" if is_quoted else "found a carriage return inside the line, expected LF or CRLF"
            return BadRow(line, "", reason, _show(record))
        fields = _FIELDS.findall(record)
        if len(fields) != len(self._header):
            is_few = len(fields) < len(self._header)
            reason = f"too {'few' if is_few else 'many'} fields: found {len(fields)}, expected {len(self._header)}"
            return BadRow(line, "", reason, _show(record))
        for column, field in zip(self._header, fields, strict=True):
            if not _is_utf8(field):
                return BadRow(line, column, "found bytes that are not UTF-8", _show(record))
            if b"\0" in field:
                return BadRow(line, column, "found a NUL byte", _show(record))
        return None


def show_names(names: Sequence[str]) -> str:
    """Column names for an error, shortened if they are long."""
    text = ", ".join(names)
    return text if len(text) <= SHOWN_BYTES else f"{text[:SHOWN_BYTES]}... ({len(names)} columns)"


def _parse_rows(header: list[str], raw: list[bytes]) -> pd.DataFrame:
    if not raw:
        return pd.DataFrame({name: pd.Series(dtype="str") for name in header})
    data = b"\n".join(raw)
    table = pa.csv.read_csv(
        pa.BufferReader(data),
        # One parser block: the ends of the records are already known.
        pa.csv.ReadOptions(column_names=header, block_size=len(data) + 1, use_threads=False),
        pa.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        pa.csv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.large_string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _is_utf8(content: bytes) -> bool:
    if content.isascii():
        return True
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _unquote(field: bytes) -> bytes:
    return field[1:-1].replace(b'""', b'"') if field.startswith(b'"') else field


def _show(content: bytes) -> str:
    return content.decode(errors="backslashreplace")
