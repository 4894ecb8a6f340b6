"""Opens a table of any kind by the rules of its dataset, or recognizes these rules."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from ml_code.errors import SourceError
from ml_code.reading.csv_records import RECORD_BYTES, CsvRecords
from ml_code.reading.encoding import recognize_encoding
from ml_code.reading.layout import Layout, recognize_layout
from ml_code.reading.rules import Reading
from ml_code.reading.streams import DAMAGED, Utf8Stream, unpack
from ml_code.reading.workbooks import convert_table, is_table_file

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".txt", ".xlsx", ".xlsm", ".xls", ".ods", ".parquet")
"""Ends of the names of files that are read; the content decides how."""


@dataclass(frozen=True, slots=True)
class Recognized:
    """The rules by which a file is written, and one sentence for each that differs from a plain CSV file."""

    reading: Reading
    notes: list[str] = field(default_factory=list)


def open_table(stream: BinaryIO, name: str, reading: Reading) -> CsvRecords:
    """Opens a table.

    Args:
        stream: of the file, at its start.
        name: for messages; `.gz` at its end means a packed file.
        reading: how the file is written.

    Raises:
        SourceError: it is not a table, or is written in another way.
    """
    buffered = _buffer(stream)
    if is_table_file(buffered.peek(8)):
        content = convert_table(buffered, name, reading.sheet)
        # A converted table is UTF-8 with commas, whatever the other files of the dataset are.
        plain = reading.model_copy(update={"encoding": "utf-8", "separator": ","})
        return CsvRecords(io.BytesIO(content), name, plain)
    return CsvRecords(buffered, name, reading)


def recognize_table(stream: BinaryIO, name: str, sheet: str | None = None) -> Recognized:
    """Recognizes how a file is written; number forms are recognized later, from whole columns.

    Args:
        stream: of the file, at its start; it can seek, and is at its start again afterwards.
        name: for messages; `.gz` at its end means a packed file.
        sheet: of a workbook; None: its only one.

    Raises:
        SourceError: it is not a table.
    """
    if is_table_file(_buffer(stream).peek(8)):
        stream.seek(0)
        content = convert_table(stream, name, sheet)
        stream.seek(0)
        layout = recognize_layout(content[:RECORD_BYTES].decode(errors="replace"))
        layout.keys.pop("separator", None)
        return _make(layout, {"sheet": sheet} if sheet else {}, [], name)
    stream.seek(0)
    is_packed = name.endswith(".gz")
    try:
        encoding = recognize_encoding(unpack(stream, is_packed=is_packed))
        stream.seek(0)
        start = Utf8Stream(stream, encoding, is_packed=is_packed).read(RECORD_BYTES)
    except DAMAGED as error:
        raise SourceError(
            f"file {name}: found a truncated or damaged gzip file ({error}), expected a whole one; load it again"
        ) from error
    stream.seek(0)
    layout = recognize_layout(start.decode(errors="replace"))
    notes = [f"The encoding is {encoding}."] if encoding != "utf-8" else []
    return _make(layout, {"encoding": encoding}, notes, name)


def _make(layout: Layout, keys: dict[str, Any], notes: list[str], name: str) -> Recognized:
    if layout.values is not None:
        raise SourceError(
            f"file {name}: found values in the first line ({layout.values[:100]}), "
            "expected the names of the columns; add a header line above it"
        )
    return Recognized(Reading.model_validate({**layout.keys, **keys}), [*notes, *layout.notes])


def _buffer(stream: BinaryIO) -> io.BufferedReader:
    return stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast("io.RawIOBase", stream))
