"""Why a record is not a row, what a file is that is not a table, and how one differs from its dataset's files."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ml_code.errors import SourceError
from ml_code.reading.blocks import is_utf8
from ml_code.reading.encoding import looks_korean
from ml_code.reading.grammar import Grammar
from ml_code.reading.rules import SEPARATORS, Reading

SAMPLE_BYTES = 4096

FIRST_LINES = 3

SEPARATOR_NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a pipe"}

KINDS = {
    b"%PDF": "a PDF document",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"GIF8": "a picture",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip file in a gzip file",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"{\\rtf": "an RTF document",
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"<meta": "a web page",
    b"<table": "a web page",
    b"<?xml": "an XML document",
    b"SQLite format 3": "an SQLite database",
    b'{"': "a JSON document",
    b"[{": "a JSON document",
    b"[[": "a JSON document",
    b"@relation": "an ARFF document",
    b"\x80\x04\x95": "a pickle of Python",
    b"\x80\x05\x95": "a pickle of Python",
    b"ARROW1": "a Feather file",
    b"\x89HDF": "an HDF5 file",
    b"$FL2": "an SPSS file",
    b"$FL3": "an SPSS file",
    b"<stata_dta>": "a Stata file",
    bytes(12) + b"\xc2\xea\x81\x60": "a SAS file",
    b"RDX2\n": "an R file",
    b"RDX3\n": "an R file",
}
"""The first bytes of files that people mistake for tables, in lower case where they are text."""

CONTROLS = bytes({*range(32), 127} - set(b"\t\n\v\f\r\x1a\x1b"))
"""Bytes that text does not have."""


def name_other_kind(start: bytes) -> str | None:
    """What a file with these first bytes is if it is not a table; None if it may be one."""
    if kind := _name_magic(start):
        return kind
    # A file may change its encoding in the middle, which makes bad rows.
    sample = b"\n".join(start[:SAMPLE_BYTES].split(b"\n")[:FIRST_LINES])
    if len(sample) - len(sample.translate(None, CONTROLS)) > 0.05 * len(sample):
        return "bytes that are not text"
    return None


def _name_magic(start: bytes) -> str | None:
    head = b"".join(start[:200].split()) if start.lstrip()[:1] in {b"[", b"{"} else start.lstrip()[:20]
    kinds = (kind for magic, kind in KINDS.items() if head.startswith(magic) or head.lower().startswith(magic))
    return next(kinds, None)


def refuse_other_kind(start: bytes, name: str, raw: bytes = b"") -> None:
    """Refuses a file that is not a table.

    Args:
        start: its first bytes, as UTF-8.
        name: for the message.
        raw: its first bytes as they are; many zeros among them look like UTF-16.

    Raises:
        SourceError: it is not a table.
    """
    if kind := _name_magic(raw) or name_other_kind(start):
        raise SourceError(
            f"file {name}: found {kind}, which is not a table, expected a CSV file, a workbook or a Parquet file; "
            "save the table as CSV UTF-8 and load it again"
        )


def find_fault(record: bytes, header: Sequence[str], reading: Reading, grammar: Grammar) -> tuple[str, str] | None:
    """The column, which may be empty, and the reason why a record is not a row; None if it is one."""
    if other := _name_encoding(record, reading.encoding):
        return "", f"found {other}, expected {_show_encoding(reading)}"
    if not grammar.row.fullmatch(record):
        is_quoted = b'"' in record
        return "", "broken quotes" if is_quoted else "found a carriage return inside the line, expected LF or CRLF"
    fields = grammar.fields.findall(record)
    if len(fields) != len(header):
        is_few = len(fields) < len(header)
        reason = f"too {'few' if is_few else 'many'} fields: found {len(fields)}, expected {len(header)}"
        return "", reason + _name_separator(record, len(header), reading.separator)
    for column, field in zip(header, fields, strict=True):
        if not is_utf8(field):
            hint = ", but look like cp949" if reading.encoding != "cp949" and looks_korean(field) else ""
            return column, f"found bytes that are not {_show_encoding(reading)}{hint}"
        if b"\0" in field:
            return column, "found a NUL byte"
    return None


def _show_encoding(reading: Reading) -> str:
    return "UTF-8" if reading.encoding == "utf-8" else reading.encoding


def _name_separator(record: bytes, width: int, separator: str) -> str:
    """The separator by which the record has the expected width."""
    for other in SEPARATORS:
        if other != separator and width > 1:
            grammar = Grammar(other.encode())
            if grammar.row.fullmatch(record) and len(grammar.fields.findall(record)) == width:
                return f"; the separator is {SEPARATOR_NAMES[other]}, expected {SEPARATOR_NAMES[separator]}"
    return ""


def _name_encoding(record: bytes, encoding: str) -> str | None:
    """The encoding of a record in the middle of a file of another one, as far as it is certain."""
    if encoding.startswith("utf-16"):
        text = record[:SAMPLE_BYTES].decode(errors="ignore")
        raw = text.encode("utf-16-be" if encoding.endswith("be") else "utf-16-le", "ignore")
        # Pairs of letters of UTF-8 make one sign of UTF-16.
        return "UTF-8" if len(text) > 8 and is_utf8(raw) and b"\0" not in raw else None
    return "UTF-16" if record.count(0) * 4 > len(record) else None


KEYS: dict[str, Callable[[Reading], str]] = {
    "encoding": lambda reading: f"the encoding {reading.encoding}",
    "separator": lambda reading: f"{SEPARATOR_NAMES[reading.separator]} as the separator",
    "line_end": lambda reading: "lines that end with CR" if reading.line_end == "cr" else "lines that end with LF",
    "comment": lambda reading: f"comments that begin with {reading.comment}" if reading.comment else "no comments",
    "skip_lines": lambda reading: f"{reading.skip_lines} lines above the header",
    "unit_row": lambda reading: "a line of units below the header" if reading.unit_row else "no line of units",
    "extra_field": lambda reading: (
        f"a field without a name, which comes {reading.extra_field}" if reading.extra_field else "a name for each field"
    ),
}
"""What each key of `[reading]` means for a file, in the order in which people look for a fault."""


def find_difference(found: Reading, expected: Reading) -> str | None:
    """What a file has and what its dataset expects; None if both are written alike.

    >>> find_difference(Reading(separator=";"), Reading())
    'found a semicolon as the separator, expected a comma as the separator'
    """
    keys = [key for key in KEYS if getattr(found, key) != getattr(expected, key)]
    if _is_one_encoding(found.encoding, expected.encoding):
        keys = [key for key in keys if key != "encoding"]
    if not keys:
        return None
    has, wants = (" and ".join(KEYS[key](reading) for key in keys) for reading in (found, expected))
    return f"found {has}, expected {wants}"


def _is_one_encoding(found: str, expected: str) -> bool:
    """Whether both read the same text; a recognized file without foreign letters counts as UTF-8."""
    return found == expected or (found == "utf-8" and not expected.startswith("utf-16"))
