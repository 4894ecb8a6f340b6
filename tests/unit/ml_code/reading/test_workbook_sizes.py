from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from ml_code.errors import SourceError
from ml_code.reading import workbook_sizes, workbooks
from ml_code.reading.rules import Reading
from tests.workbooks import write_ods, write_ods_row, write_workbook

ROWS = [["id", "name", "price"], [1, "Kim", 1.5], [2, "Lee, Jr.", 2], [3, 'Park "x"', None]]


def read(content: bytes, name: str = "book.xlsx") -> bytes:
    return workbooks.convert_table(io.BytesIO(content), name, Reading())


def test_a_workbook_whose_last_cell_lies_at_the_end_of_the_sheet_is_refused_before_it_fills_the_memory() -> None:
    far = '<c r="XFD1048576"><v>1</v></c>'
    with pytest.raises(SourceError, match=r"found a sheet of 17179885568 cells .* delete what lies far"):
        read(write_workbook({"S": ROWS, "Notes": [[far]]}))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"<c>", b"<c r='XFD1048576'>"),
        (b"<c>", b'<c r = "XFD1048576">'),
        (b"<c>", b'<c r="xfd1048576">'),
        (b"<row>", b"<row r='90000000'>"),
        (b"sheet1.xml", b"elsewhere.txt"),
    ],
)
def test_a_far_cell_is_found_in_each_way_of_writing_it(old: bytes, new: bytes) -> None:
    far = '<c r="XFD1048576"><v>1</v></c>' if old == b"sheet1.xml" else 1
    book = zipfile.ZipFile(io.BytesIO(write_workbook({"S": [*ROWS, [far]]})))
    changed = io.BytesIO()
    with zipfile.ZipFile(changed, "w") as archive:
        for name in book.namelist():
            archive.writestr(
                name.replace("sheet1.xml", new.decode()) if old == b"sheet1.xml" else name,
                book.read(name).replace(old, new),
            )
    with pytest.raises(SourceError, match=r"found a sheet of [0-9]+ cells .* delete what lies far"):
        read(changed.getvalue())


VALUE = 'office:value-type="float" office:value="1"'
FAR = 'table:number-columns-repeated="900000000"'


@pytest.mark.parametrize(
    "cells",
    [
        f"<table:table-cell {VALUE} {FAR}/>",
        f"<table:table-cell {FAR}/><table:table-cell {VALUE}/>",
        f"<table:table-cell {FAR}/><table:table-cell/>",
        f"<table:covered-table-cell {FAR}/><table:table-cell {VALUE}/>",
    ],
)
def test_repeated_cells_of_an_opendocument_sheet_count_before_others_and_without_a_text(cells: str) -> None:
    with pytest.raises(SourceError, match=r"found a sheet of 90000000[01] cells"):
        read(write_ods(f"<table:table-row>{cells}</table:table-row>"), "bomb.ods")


def test_empty_rows_before_a_row_count_by_the_columns_of_the_widest() -> None:
    empty = '<table:table-row table:number-rows-repeated="9000000"><table:table-cell/></table:table-row>'
    with pytest.raises(SourceError, match=r"found a sheet of 27000006 cells"):
        read(write_ods(write_ods_row("a", "b", "c") + empty + write_ods_row("7")), "bomb.ods")


def test_repeated_blanks_of_an_opendocument_text_are_refused_before_they_fill_the_memory() -> None:
    blanks = (
        '<table:table-cell office:value-type="string"><text:p>a<text:s text:c="900000000"/></text:p></table:table-cell>'
    )
    with pytest.raises(SourceError, match=r"found rows of more than 500 MB once unpacked"):
        read(write_ods(f"<table:table-row>{blanks}</table:table-row>"), "bomb.ods")


def test_an_opendocument_sheet_of_repeated_cells_is_refused_before_it_fills_the_memory() -> None:
    with pytest.raises(SourceError, match=r"found a sheet of 25005000 cells .* delete what lies far"):
        read(write_ods(write_ods_row("id") + write_ods_row("7", repeated=5000)), "bomb.ods")


def test_an_archive_that_unpacks_to_too_much_is_refused_by_its_declared_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
        archive.writestr("xl/worksheets/sheet1.xml", bytes(3_000_000))
    for module in (workbooks, workbook_sizes):
        monkeypatch.setattr(module, "LARGEST_TABLE_MB", 2)
    with pytest.raises(SourceError, match=r"found rows of more than 2 MB once unpacked, .* split the file"):
        read(path.read_bytes())
