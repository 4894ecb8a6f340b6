"""Streams a CSV file in blocks of complete records and separates malformed ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from typing import BinaryIO

from ml_code.errors import SourceError
from ml_code.reading.blocks import BadRow, Block, describe_bytes, is_utf8, parse_rows, set_totals_apart, show
from ml_code.reading.faults import find_fault, refuse_other_kind
from ml_code.reading.grammar import Grammar, clean_name, name_columns
from ml_code.reading.rules import Reading
from ml_code.reading.streams import BOM, DAMAGED, Utf8Stream

BLOCK_BYTES = 4 * 1024 * 1024
"""Size of a read: large enough for a fast parser call, small enough for a flat memory."""

RECORD_BYTES = 1024 * 1024
"""Longest valid record: without a limit, a file without line ends would fill the memory."""

RECORD_LINES = 100
"""Most physical lines of one record: an unclosed quote costs one line, not the rest of the file."""

SHOWN_BYTES = 1000
"""Length of the raw text of an overlong line."""


class CsvRecords:
    """The records of one CSV file, read once from start to end; a file named `.gz` is unpacked on the way.

    >>> records = CsvRecords(stream, "employees.csv")
    >>> records.header
    ['employee_id', 'name']
    >>> sum(len(block.frame) for block in records)
    1000000
    """

    def __init__(self, stream: BinaryIO, name: str, reading: Reading | None = None) -> None:
        """Reads the header.

        Args:
            stream: of the file.
            name: for messages; `.gz` at its end means a packed file.
            reading: how the file is written; None: comma-separated UTF-8 with the header on its first line.

        Raises:
            SourceError: the file is empty, or is named `.gz` and is not a gzip file.
            SourceError: the header has other bytes than its encoding, broken quotes, or a column name twice.
        """
        self._name = name
        self._reading = reading or Reading()
        encoding, end = self._reading.encoding, self._reading.line_end
        self._stream = Utf8Stream(stream, encoding, is_packed=name.endswith(".gz"), line_end=end)
        self._grammar = Grammar(self._reading.separator.encode())
        self._rest, self._line = self._read(RECORD_BYTES), 1
        refuse_other_kind(self._rest, name)
        self._skip_lines()
        self._header_line = self._take_record()
        self._names = self._parse_header(self._header_line)
        self.header = self._names[:-1] if self._reading.extra_field == "last" else self._names
        if self._reading.unit_row:
            self._take_record()

    def __iter__(self) -> Iterator[Block]:
        """Reads the file block by block.

        Raises:
            SourceError: the gzip file is truncated or damaged, or no row follows the header.
        """
        line, is_last, has_rows = self._line, False, False
        while not is_last:
            data, partial, is_last = self._read_lines()
            lines = _Lines(self._names, self._reading, data, line, is_last=is_last, header_line=self._header_line)
            block, used, rest = lines.sort()
            block = set_totals_apart(block, at_start=not has_rows, at_end=is_last)
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
        try:
            return self._stream.read(size)
        except DAMAGED as error:
            raise self._refuse(f"a truncated or damaged gzip file ({error})", "a whole one") from error

    def _take_line(self) -> bytes:
        line, _, self._rest = self._rest.partition(b"\n")
        self._line += 1
        return line.rstrip(b"\r")

    def _take_record(self) -> bytes:
        """Takes a line, and those after it that belong to its quoted fields."""
        record = self._take_line()
        for _ in range(RECORD_LINES):
            if record.count(b'"') % 2 == 0 or not self._rest:
                break
            record += b"\n" + self._take_line()
        return record

    def _skip_lines(self) -> None:
        comment = self._reading.comment.encode()
        while self._rest and (self._line <= self._reading.skip_lines or (comment and self._rest.startswith(comment))):
            self._take_line()

    def _parse_header(self, line: bytes) -> list[str]:
        if not line and not self._rest:
            raise self._refuse("an empty file", "a header and rows")
        shown = describe_bytes(line)
        if not self._grammar.row.fullmatch(line):
            line = self._grammar.loose_quotes.sub(b"", line)
        if len(line) >= RECORD_BYTES or b"\0" in line or not self._grammar.row.fullmatch(line):
            raise self._refuse(f"a first line of {shown}", "a header of names, each quoted whole or not at all")
        try:
            names = [clean_name(field.decode()) for field in self._grammar.split(line)]
        except UnicodeDecodeError as error:
            raise self._refuse(f"a header of {shown}", f"names in {self._reading.encoding}") from error
        if not any(names):
            raise self._refuse("an empty header", "a name for each column")
        if self._reading.extra_field == "first":
            names.insert(0, "")
        elif self._reading.extra_field == "last":
            names.append("")
        names = name_columns(names)
        [(twice, count)] = Counter(names).most_common(1)
        if count > 1:
            places = " and ".join(str(place) for place, name in enumerate(names, start=1) if name == twice)
            raise self._refuse(
                f"one column name twice (columns {places})",
                "each name once, and names, not values, in the first line",
            )
        return names

    def _refuse(self, found: str, expected: str) -> SourceError:
        return SourceError(f"file {self._name}: found {found}, expected {expected}; fix the file and load it again")


class _Lines:
    """The complete lines of one part; the first is line `first` of the file."""

    def __init__(
        self, header: list[str], reading: Reading, data: bytes, first: int, *, is_last: bool, header_line: bytes
    ) -> None:
        self._header, self._header_line, self._reading = header, header_line, reading
        self._grammar = grammar = Grammar(reading.separator.encode())
        self._row = grammar.make_row(len(header))
        self._data, self._first, self._is_last = data, first, is_last
        self._comment = reading.comment.encode()
        self._physical = data.removesuffix(b"\n").split(b"\n") if data else []
        has_cr = b"\r" in data
        # Python's writer in a file of text on Windows ends each line with CR, CR, LF.
        self._lines = [line.rstrip(b"\r") for line in self._physical] if has_cr else self._physical

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
                return self._make_block(numbers, raw, bad), index, rest
            record = self._tidy(b"\n".join([*self._physical[index : end - 1], self._lines[end - 1]]))
            fault = self._find_fault(self._first + index, record) if record else None
            if fault:
                bad.append(fault)
            elif record:
                raw.append(record)
                numbers.append(self._first + index)
            position = end
        keep_until(len(self._lines))
        return self._make_block(numbers, raw, bad), len(self._lines), b""

    def _make_block(self, numbers: list[int], raw: list[bytes], bad: list[BadRow]) -> Block:
        frame = parse_rows(self._header, raw, self._reading.separator)
        if self._reading.extra_field != "last":
            return Block(numbers, raw, frame, bad)
        is_full = frame[self._header[-1]].notna().to_numpy()
        width = len(self._header) - 1
        reason = f"too many fields: found {width + 1}, expected {width}"
        more = [BadRow(numbers[i], "", reason, show(raw[i])) for i in is_full.nonzero()[0].tolist()]
        kept = (~is_full).nonzero()[0].tolist()
        frame = frame.drop(columns=self._header[-1]).iloc[kept].reset_index(drop=True)
        return Block([numbers[i] for i in kept], [raw[i] for i in kept], frame, sorted([*bad, *more], key=_get_line))

    def _tidy(self, record: bytes) -> bytes:
        """Drops comments, empty records, and blanks beside quoted fields."""
        if self._comment and record.startswith(self._comment):
            return b""
        separator = self._reading.separator.encode()
        if self._reading.skip_empty and not record.strip(separator + b" \t"):
            return b""
        if b'"' in record and not self._row.fullmatch(record):
            record = self._grammar.loose_quotes.sub(b"", record)
        return self._fit(record, separator) if self._reading.extra_field == "last" else record

    def _fit(self, record: bytes, separator: bytes) -> bytes:
        """A record with one empty field after the last named one, where it has several or none."""
        surplus = len(self._grammar.fields.findall(record)) - len(self._header)
        if surplus == -1:
            return record + separator
        empty = len(record) - len(record.rstrip(separator))
        return record[:-surplus] if 0 < surplus < empty else record

    def _find_suspects(self) -> list[int]:
        """Indexes of the lines that fail the fast tests; nearly all rows pass these."""
        separator, more = self._reading.separator.encode(), len(self._header) - 1
        lines, is_row = self._lines, self._row.fullmatch
        data = self._data
        suspects = {index for index, line in enumerate(lines) if line.count(separator) != more}
        if self._reading.skip_empty and self._grammar.empty.search(b"\n" + data):
            suspects.update(index for index, line in enumerate(lines) if not line.strip(separator + b" \t"))
        if self._header_line in data:  # files that are appended to one another
            again = {self._header_line, BOM + self._header_line}
            suspects.update(index for index, line in enumerate(lines) if line in again)
        if self._comment and self._comment in data:
            suspects.update(index for index, line in enumerate(lines) if line.startswith(self._comment))
        if b'"' in data or b"\r" in data:
            special = {index for index, line in enumerate(lines) if b'"' in line or b"\r" in line}
            suspects = (suspects - special) | {index for index in special if not is_row(lines[index])}
        if not more or max(map(len, lines), default=0) > RECORD_BYTES:
            suspects.update(index for index, line in enumerate(lines) if not line or len(line) > RECORD_BYTES)
        if b"\0" in data or not is_utf8(data):
            suspects.update(index for index, line in enumerate(lines) if b"\0" in line or not is_utf8(line))
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
        if count > 1 and not self._is_row(b"\n".join(lines[:count]).rstrip(b"\r")):
            return index + 1
        return index + count

    def _is_row(self, record: bytes) -> bool:
        return bool(self._row.fullmatch(record) or self._row.fullmatch(self._grammar.loose_quotes.sub(b"", record)))

    def _find_fault(self, line: int, record: bytes) -> BadRow | None:
        if len(record) > RECORD_BYTES:
            reason = f"found a record of more than {RECORD_BYTES} bytes, of which these are the first {SHOWN_BYTES}"
            return BadRow(line, "", reason, show(record[:SHOWN_BYTES]))
        if record.removeprefix(BOM) in {self._header_line, self._tidy(self._header_line)}:
            return BadRow(line, "", "found the header again, expected a row", show(record))
        fault = find_fault(record, self._header, self._reading, self._grammar)
        return BadRow(line, *fault, show(record)) if fault else None


def _get_line(row: BadRow) -> int:
    return row.line
