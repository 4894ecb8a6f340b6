"""Opens a table of any kind by the rules of its dataset, or recognizes these rules."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from ml_code.errors import SourceError
from ml_code.reading.conversion import convert_apart
from ml_code.reading.csv_records import RECORD_BYTES, CsvRecords
from ml_code.reading.encoding import recognize_encoding
from ml_code.reading.faults import find_difference, refuse_other_kind
from ml_code.reading.layout import Layout, recognize_layout
from ml_code.reading.rules import Reading
from ml_code.reading.streams import DAMAGED, GZIP, Rejoined, Utf8Stream, unpack, unpack_start
from ml_code.reading.workbooks import PARQUET, is_table_file

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".txt.gz", ".xlsx", ".xlsm", ".xls", ".ods", ".parquet")
"""Ends of the names of files that are read; the content decides how."""

LAYOUT = {"skip_lines", "comment", "unit_row", "extra_field"}
"""Keys of `[reading]` for what stands around the rows of a text or a sheet, and never in a Parquet file."""


@dataclass(frozen=True, slots=True)
class Recognized:
    """The rules by which a file is written, and one sentence for each that differs from a plain CSV file."""

    reading: Reading
    notes: list[str] = field(default_factory=list)


def open_table(stream: BinaryIO, name: str, reading: Reading, columns: Sequence[str] = ()) -> CsvRecords:
    """Opens a table.

    Args:
        stream: of the file, at its start.
        name: for messages; `.gz` at its end means a packed file.
        reading: how the file is written.
        columns: declared ones. If one is missing, and the file is written in another way, the error says in which.

    Raises:
        SourceError: it is not a table, or is written in another way.
    """
    start = stream.read(RECORD_BYTES)
    rest = cast("BinaryIO", Rejoined(start, stream))
    if is_table_file(start):
        is_parquet = start.startswith(PARQUET)
        content = convert_apart(rest, name, reading)
        start, rest = content[:RECORD_BYTES], io.BytesIO(content)
        # A converted table is UTF-8 with commas, whatever the other files of the dataset are.
        reading = reading.model_copy(update={"encoding": "utf-8", "separator": ",", "line_end": "lf"})
        if is_parquet:
            reading = Reading.model_validate(reading.model_dump(exclude=LAYOUT))
    elif start.startswith(GZIP) and not name.endswith(".gz"):
        rest = unpack(rest, is_packed=True)
    try:
        records = CsvRecords(rest, name, reading)
    except SourceError as error:
        refuse_other_dialect(start, name, reading, error)
        raise
    if any(column not in records.header for column in columns):
        refuse_other_dialect(start, name, reading)
    return records


def refuse_other_dialect(start: bytes, name: str, reading: Reading, cause: Exception | None = None) -> None:
    """Refuses a file that is written in another way than its dataset's files.

    Args:
        start: the first bytes of the file.
        name: of the file.
        reading: how the dataset's files are written.
        cause: the error that led here.

    Raises:
        SourceError: the file is written in another way; the error says in which.
    """
    if is_table_file(start):
        return
    try:
        found = recognize_table(io.BytesIO(_unpack_start(start)), name.removesuffix(".gz")).reading
    except SourceError:
        return
    if difference := find_difference(found, reading):
        raise SourceError(
            f"file {name}: {difference}, by [reading] of the dataset's TOML file; "
            "save it as the dataset's other files, or correct [reading] if they are all written so"
        ) from cause


def recognize_table(stream: BinaryIO, name: str, sheet: str | None = None, wanted: str = "") -> Recognized:
    """Recognizes how a file is written; number forms are recognized later, from whole columns.

    Args:
        stream: of the file, at its start; it can seek, and is at its start again afterwards.
        name: for messages; `.gz` at its end means a packed file.
        sheet: of a workbook; None: its only one.
        wanted: name of a column that the header has, if one is known.

    Raises:
        SourceError: it is not a table.
    """
    start = stream.read(RECORD_BYTES)
    stream.seek(0)
    if start.startswith(PARQUET):
        return Recognized(Reading())
    if is_table_file(start):
        content = convert_apart(stream, name, Reading(sheet=sheet))
        stream.seek(0)
        layout = _recognize_start(content[:RECORD_BYTES], wanted, is_plain=True)
        return _make(layout, {"sheet": sheet} if sheet else {}, [], name)
    is_packed = start.startswith(GZIP) or name.endswith(".gz")
    try:
        encoding = recognize_encoding(unpack(stream, is_packed=is_packed))
        stream.seek(0)
        content = unpack(stream, is_packed=is_packed).read(RECORD_BYTES)
    except DAMAGED as error:
        raise SourceError(
            f"file {name}: found a truncated or damaged gzip file ({error}), expected a whole one; load it again"
        ) from error
    stream.seek(0)
    text = Utf8Stream(io.BytesIO(content), encoding, is_packed=False).read(2 * RECORD_BYTES)
    refuse_other_kind(text if encoding.startswith("utf-16") else content, name, raw=content)
    layout = _recognize_start(text, wanted)
    notes = [f"The encoding is {encoding}."] if encoding != "utf-8" else []
    return _make(layout, {"encoding": encoding}, notes, name)


def _recognize_start(content: bytes, wanted: str, *, is_plain: bool = False) -> Layout:
    text = content.decode(errors="replace")
    if len(content) >= RECORD_BYTES and "\n" in text:
        text = text[: text.rindex("\n") + 1]  # the last line may be incomplete
    return recognize_layout(text, separator="," if is_plain else None, wanted=wanted)


def _unpack_start(start: bytes) -> bytes:
    try:
        return unpack_start(start, RECORD_BYTES) if start.startswith(GZIP) else start
    except DAMAGED:
        return b""


def _make(layout: Layout, keys: dict[str, Any], notes: list[str], name: str) -> Recognized:
    if layout.values is not None:
        raise SourceError(
            f"file {name}: found values in the first line ({len(layout.values)} characters), "
            "expected the names of the columns; add a header line above it"
        )
    return Recognized(Reading.model_validate({**layout.keys, **keys}), [*notes, *layout.notes])
