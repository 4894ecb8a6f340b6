"""Workbooks and Parquet files as CSV, so that every file of people is read in one way."""

from __future__ import annotations

import csv
import datetime
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any, BinaryIO
from xml.parsers import expat

import pyarrow as pa
import pyarrow.parquet as pq
import python_calamine

from ml_code.errors import SourceError
from ml_code.reading.grammar import clean_name
from ml_code.reading.rules import Reading
from ml_code.reading.workbook_sizes import LARGEST_TABLE_MB, Extent, refuse_repeated, refuse_size

ZIP = b"PK\x03\x04"
OLE = b"\xd0\xcf\x11\xe0"
PARQUET = b"PAR1"

_FORMULA = re.compile(rb"<c\b[^<>]*+>\s*<f\b[^<>]*?(?:/>|>[^<]*</f>)\s*(?:<v\s*/>|<v></v>)?\s*</c>")
"""A cell of a worksheet with a formula and without its value. Each part ends at the next `<`: no text is read twice."""

_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, expat.ExpatError, ValueError)
"""Errors of an archive that is not whole: OSError is bzip2's, ValueError that of a count of repeats."""

_LOCKED = re.compile(
    "EncryptedPackage".encode("utf-16-le") + rb"|\x09\x08\x10\x00\x00\x06\x05\x00.{12}(?:\x86\x00\x00\x00)?\x2f\x00",
    re.DOTALL,
)
"""What a workbook with a password has: the part of a newer one; the record FILEPASS at the start of an older one."""


def is_table_file(start: bytes) -> bool:
    """Whether a file with these first bytes is a workbook or a Parquet file."""
    return start.startswith((ZIP, OLE, PARQUET))


def convert_table(stream: BinaryIO, name: str, reading: Reading) -> bytes:
    """Converts a workbook's sheet or a Parquet file to CSV in UTF-8; line numbers are the sheet's rows.

    A number gets the decimal sign that the texts of its column have.

    Args:
        stream: of the file, at its start.
        name: for messages.
        reading: names the sheet, the lines above the header, and the forms of numbers.

    Raises:
        SourceError: it is another archive, damaged, protected by a password, or too large; a formula has no value.
        SourceError: the workbook has several sheets and none is named, or not the named one.
    """
    content = stream.read()
    if content.startswith(PARQUET):
        rows: Iterator[list[Any]] = _read_parquet(content, name)
    else:
        rows = _read_sheet(content, name, reading.sheet)
    table = io.BytesIO()
    text = io.TextIOWrapper(table, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    signs: list[str] = []
    for number, row in enumerate(rows):
        if number == reading.skip_lines:
            signs = [reading.find_form(clean_name(str(cell))).decimal for cell in row]
        writer.writerow([_to_text(cell, sign) for cell, sign in zip_longest(row, signs[: len(row)], fillvalue=".")])
        if table.tell() > LARGEST_TABLE_MB * 1_000_000:
            raise refuse_size(name)
    text.flush()
    return table.getvalue()


def _read_sheet(content: bytes, name: str, sheet: str | None) -> Iterator[list[Any]]:
    if content.startswith(ZIP):
        _check_archive(content, name)
    if content.startswith(OLE) and _LOCKED.search(content):  # the library takes it for a damaged one, or reads nonsense
        raise SourceError(
            f"file {name}: found a workbook with a password, expected one without; save it without a password"
        )
    try:
        book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(content))
        chosen = book.get_sheet_by_name(_choose_sheet(book, name, sheet))
        rows = _fill_merged(chosen.to_python(skip_empty_area=False), chosen.merged_cell_ranges or [])
    except (python_calamine.CalamineError, OSError) as error:
        raise SourceError(
            f"file {name}: found an Excel workbook that cannot be opened, expected a whole one; "
            "save the sheet as CSV UTF-8 and load that"
        ) from error
    yield from rows


def _fill_merged(rows: list[list[Any]], ranges: Sequence[Any]) -> list[list[Any]]:
    """The rows, with the value of each cell that is merged over several rows in all of them.

    Cells that are merged to the right stay empty: they are titles. Empty ones beside the table are no part of it.
    """
    for (top, left), (bottom, _) in ranges:
        if top < len(rows) and left < len(rows[top]):
            for row in rows[top + 1 : bottom + 1]:
                row[left] = rows[top][left]
    return rows


def _choose_sheet(book: python_calamine.CalamineWorkbook, name: str, sheet: str | None) -> str:
    sheets = [found for found in book.sheets_metadata if _has_rows(book, found.name)]
    shown = [found for found in sheets if found.visible == python_calamine.SheetVisibleEnum.Visible]
    filled = [found.name for found in shown or sheets]
    chosen = sheet or (filled[0] if len(filled) == 1 else None)
    if chosen is None or chosen not in book.sheet_names:
        found = ", ".join(repr(title[:50]) for title in filled[:10]) or "no sheet with rows"
        raise SourceError(
            f"file {name}: found the sheets {found}, expected {repr(sheet) if sheet else 'one'}; "
            "name one by --sheet, or by `sheet` below [reading] in the dataset's TOML file"
        )
    return chosen


def _has_rows(book: python_calamine.CalamineWorkbook, title: str) -> bool:
    return book.get_sheet_by_name(title).height > 0


def _check_archive(content: bytes, name: str) -> None:
    """Refuses an archive that is not a workbook, unpacks to too much, or has formulas without values."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            _refuse_archive(set(names), name)
            if sum(part.file_size for part in archive.infolist()) > LARGEST_TABLE_MB * 1_000_000:
                raise refuse_size(name)
            unpacked = 0
            for part in names:
                tail, sheet = b"", Extent()
                with archive.open(part) as member:
                    while chunk := member.read(1_000_000):
                        unpacked += len(chunk)
                        if unpacked > LARGEST_TABLE_MB * 1_000_000:
                            raise refuse_size(name)
                        sheet.add(chunk, name)
                        tail = _refuse_formulas(part, tail + chunk, name)
            if "content.xml" in names:
                with archive.open("content.xml") as member:
                    refuse_repeated(member, name)
    except (NotImplementedError, RuntimeError) as error:  # zipfile's words for an unknown packing and for a password
        raise SourceError(
            f"file {name}: found a workbook whose parts have a password or are packed in an unknown way, expected one "
            "of a spreadsheet program; save it again without a password"
        ) from error
    except _DAMAGED as error:
        raise SourceError(f"file {name}: found a damaged workbook, expected a whole one; save it again") from error


def _refuse_archive(parts: set[str], name: str) -> None:
    if "xl/workbook.bin" in parts:  # the bounds of a sheet's cells are read from XML
        raise SourceError(
            f"file {name}: found a binary workbook (.xlsb), expected an Excel workbook (.xlsx); save it as .xlsx"
        )
    if parts & {"xl/workbook.xml", "content.xml"}:
        return
    is_document = "word/document.xml" in parts
    found, step = ("a Word document", "save its table as CSV UTF-8") if is_document else ("a zip archive", "unpack it")
    raise SourceError(f"file {name}: found {found}, expected a table; {step} and load that")


def _refuse_formulas(part: str, text: bytes, name: str) -> bytes:
    """Refuses a formula without its value; returns the end of the text, which may be the start of a cell."""
    if not part.startswith("xl/worksheets/"):
        return b""
    if _FORMULA.search(text):
        raise SourceError(
            f"file {name}: found a formula without its value, expected values; "
            "open the workbook, let it calculate, and save it again"
        )
    return text[text.rfind(b"<c ") :][-1000:] if b"<c " in text else b""


def _read_parquet(content: bytes, name: str) -> Iterator[list[Any]]:
    try:
        file = pq.ParquetFile(io.BytesIO(content))
        yield _name_columns(file.schema_arrow, name)
        for batch in file.iter_batches(10_000):
            yield from map(list, zip(*(column.to_pylist() for column in batch.columns), strict=True))
    except (pa.ArrowException, OSError) as error:
        raise SourceError(
            f"file {name}: found a Parquet file that cannot be read, expected a whole one; write it again"
        ) from error


def _name_columns(schema: pa.Schema, name: str) -> list[str]:
    """The names of a Parquet file's columns; pandas' index without a name has none."""
    nested = [column.name for column in schema if pa.types.is_nested(column.type) or _is_binary(column.type)]
    if nested:
        raise SourceError(
            f"file {name}: found the column {nested[0][:100]!r} of lists, structures or bytes, expected numbers, "
            "texts and times; write the file without it"
        )
    return ["" if column.startswith("__index_level_") else column for column in schema.names]


def _is_binary(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _to_text(cell: object, decimal: str) -> str:
    """A cell as people would write it; whole numbers have no decimal places, as a spreadsheet shows them."""
    if cell is None or cell != cell:  # noqa: PLR0124  NaN differs from itself
        return ""
    if isinstance(cell, float):
        is_whole = cell.is_integer() and abs(cell) < 2**53
        return str(int(cell)) if is_whole else str(cell).replace(".", decimal)
    if isinstance(cell, datetime.datetime) and cell.time() == datetime.time():
        return cell.date().isoformat()
    if isinstance(cell, datetime.datetime):
        return cell.isoformat(sep=" ")
    return str(cell).replace("\r\n", "\n").replace("\r", "\n")
