"""Writes small workbooks of Excel and OpenDocument, so that tests need no library for it."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Collection, Mapping, Sequence
from xml.sax.saxutils import escape

NAMESPACE = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
KIND = "application/vnd.openxmlformats-officedocument.spreadsheetml"
STYLES = f'<styleSheet {NAMESPACE}><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs></styleSheet>'


def write_cell(cell: object) -> str:
    """The XML of a cell; a text that begins with `<` is XML already."""
    if cell is None:
        return "<c/>"
    if isinstance(cell, bool):
        return f'<c t="b"><v>{int(cell)}</v></c>'
    if isinstance(cell, int | float):
        return f"<c><v>{cell!r}</v></c>"
    text = str(cell)
    return text if text.startswith("<c") else f'<c t="inlineStr"><is><t>{escape(text)}</t></is></c>'


def write_workbook(
    sheets: Mapping[str, Sequence[Sequence[object]]], *, hidden: Collection[str] = (), merged: Sequence[str] = ()
) -> bytes:
    """A workbook with these sheets, of which some are hidden; in each, cells such as `A2:A5` are merged."""
    buffer = io.BytesIO()
    numbers = range(1, len(sheets) + 1)
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        parts = "".join(
            f'<Override PartName="/xl/worksheets/sheet{number}.xml" ContentType="{KIND}.worksheet+xml"/>'
            for number in numbers
        )
        archive.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{PACKAGE}/content-types"><Default Extension="rels" ContentType="application/'
            f'vnd.openxmlformats-package.relationships+xml"/><Override PartName="/xl/workbook.xml" '
            f'ContentType="{KIND}.sheet.main+xml"/>{parts}</Types>',
        )
        archive.writestr("_rels/.rels", write_relations({"workbook": ("officeDocument", "xl/workbook.xml")}))
        named = "".join(
            f'<sheet name="{escape(name)}" sheetId="{number}" r:id="r{number}"{" state='hidden'" * (name in hidden)}/>'
            for number, name in zip(numbers, sheets, strict=True)
        )
        archive.writestr(
            "xl/workbook.xml", f'<workbook {NAMESPACE} xmlns:r="{RELATIONS}"><sheets>{named}</sheets></workbook>'
        )
        targets = {f"r{number}": ("worksheet", f"worksheets/sheet{number}.xml") for number in numbers}
        archive.writestr("xl/_rels/workbook.xml.rels", write_relations(targets | {"s": ("styles", "styles.xml")}))
        archive.writestr("xl/styles.xml", STYLES)
        ranges = "".join(f'<mergeCell ref="{cells}"/>' for cells in merged)
        below = f'<mergeCells count="{len(merged)}">{ranges}</mergeCells>' if merged else ""
        for number, rows in zip(numbers, sheets.values(), strict=True):
            lines = "".join(f"<row>{''.join(map(write_cell, row))}</row>" for row in rows)
            archive.writestr(
                f"xl/worksheets/sheet{number}.xml",
                f"<worksheet {NAMESPACE}><sheetData>{lines}</sheetData>{below}</worksheet>",
            )
    return buffer.getvalue()


def write_ods(rows: str) -> bytes:
    """An OpenDocument spreadsheet with one sheet of these rows, as XML."""
    names = " ".join(
        f'xmlns:{short}="urn:oasis:names:tc:opendocument:xmlns:{short}:1.0"' for short in ("office", "table", "text")
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr(
            "content.xml",
            f"<office:document-content {names}><office:body><office:spreadsheet>"
            f'<table:table table:name="S">{rows}</table:table>'
            "</office:spreadsheet></office:body></office:document-content>",
        )
        archive.writestr("META-INF/manifest.xml", "<manifest/>")
    return buffer.getvalue()


def write_ods_row(*cells: str, repeated: int = 1) -> str:
    """The XML of a row of texts; each cell stands as often as the row."""
    kind = f'table:number-columns-repeated="{repeated}" office:value-type="string"'
    texts = "".join(f"<table:table-cell {kind}><text:p>{escape(cell)}</text:p></table:table-cell>" for cell in cells)
    return f'<table:table-row table:number-rows-repeated="{repeated}">{texts}</table:table-row>'


SECTOR = 512
END, FREE, TABLE_OF_SECTORS = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD


def write_container(streams: Mapping[str, bytes]) -> bytes:
    """The container of older workbooks and of those with a password; up to three streams of 60 KB together."""
    sectors, bodies, entries = [TABLE_OF_SECTORS, END], b"", [_write_entry("Root Entry", 5, END, 0, child=1)]
    for number, (name, content) in enumerate(streams.items(), 1):
        body = content.ljust(-(-max(len(content), 4096) // SECTOR) * SECTOR, b"\0")
        first, count = len(sectors), len(body) // SECTOR
        sectors += [*range(first + 1, first + count), END]
        bodies += body
        next_entry = number + 1 if number < len(streams) else FREE
        entries.append(_write_entry(name, 2, first, len(body), following=next_entry))
    header = struct.pack(
        "<8s16sHHHHH6xIIIIIIIIII",
        *(bytes.fromhex("d0cf11e0a1b11ae1"), b"", 0x3E, 3, 0xFFFE, 9, 6, 0, 1, 1, 0, 4096, END, 0, END, 0, 0),
    ) + struct.pack("<108I", *[FREE] * 108)
    table = struct.pack("<128I", *sectors, *[FREE] * (128 - len(sectors)))
    return header + table + b"".join(entries).ljust(SECTOR, b"\0") + bodies


def _write_entry(name: str, kind: int, first: int, size: int, *, child: int = FREE, following: int = FREE) -> bytes:
    text = name.encode("utf-16-le")
    places = (FREE, following, child, b"", 0, 0, 0, first, size)
    return struct.pack("<64sHBBIII16sIQQIQ", text, len(text) + 2, kind, 1, *places)


def write_xls(rows: Sequence[Sequence[str | float | None]], before: bytes = b"") -> bytes:
    """A workbook of Excel 97 with one sheet; `before` are records at its start."""
    start, end = _begin(5) + before, _record(0x0A, b"")
    sheet = b"".join(
        _record(0x204, struct.pack("<HHHHB", row, column, 0, len(cell), 0) + cell.encode("latin-1"))
        if isinstance(cell, str)
        else _record(0x203, struct.pack("<HHHd", row, column, 0, cell))
        for row, cells in enumerate(rows)
        for column, cell in enumerate(cells)
        if cell is not None
    )
    place = len(start) + len(_name_sheet(0)) + len(end)
    return write_container({"Workbook": start + _name_sheet(place) + end + _begin(0x10) + sheet + end})


def _begin(kind: int) -> bytes:
    return _record(0x809, struct.pack("<HHHHII", 0x600, kind, 0, 0, 0, 0x600))


def _name_sheet(place: int) -> bytes:
    return _record(0x85, struct.pack("<IBBBB", place, 0, 0, 1, 0) + b"S")


def _record(kind: int, content: bytes) -> bytes:
    return struct.pack("<HH", kind, len(content)) + content


def write_relations(targets: Mapping[str, tuple[str, str]]) -> str:
    """The XML of a part's relations: kind and target by id."""
    lines = "".join(
        f'<Relationship Id="{name}" Type="{RELATIONS}/{kind}" Target="{target}"/>'
        for name, (kind, target) in targets.items()
    )
    return f'<Relationships xmlns="{PACKAGE}/relationships">{lines}</Relationships>'
