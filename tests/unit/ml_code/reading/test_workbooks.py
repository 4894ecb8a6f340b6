from __future__ import annotations

import io
import struct
import zipfile
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml_code.errors import SourceError
from ml_code.reading import table, workbooks
from ml_code.reading.rules import Reading
from ml_code.reading.table import open_table, recognize_table
from tests.workbooks import write_container, write_ods, write_ods_row, write_workbook, write_xls

HEADER = ["id", "name", "price"]
ROWS = [HEADER, [1, "Kim", 1.5], [2, "Lee, Jr.", 2], [3, 'Park "x"', None]]
READ = [["1", "Kim", "1.5"], ["2", "Lee, Jr.", "2"], ["3", 'Park "x"', ""]]


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Converts without the process of its own, which `test_conversion.py` tests: each start takes a while."""
    monkeypatch.setattr(table, "convert_apart", workbooks.convert_table)


def read(content: bytes, name: str = "book.xlsx", sheet: str | None = None) -> list[list[str]]:
    recognized = recognize_table(io.BytesIO(content), name, sheet)
    records = open_table(io.BytesIO(content), name, recognized.reading)
    return [row for block in records for row in block.frame.fillna("").to_numpy().tolist()]


def write_parquet(columns: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def test_a_workbook_of_one_sheet_is_read() -> None:
    assert read(write_workbook({"Sales": ROWS})) == READ


def test_an_empty_second_sheet_does_not_count() -> None:
    assert read(write_workbook({"Sheet1": ROWS, "Sheet2": []})) == READ


def test_two_sheets_are_refused_by_name_until_one_is_chosen() -> None:
    book = write_workbook({"May": ROWS, "June": ROWS[:2]})
    with pytest.raises(SourceError, match=r"found the sheets 'May', 'June', expected one; name one by --sheet"):
        read(book)
    assert read(book, sheet="June") == READ[:1]
    with pytest.raises(SourceError, match="expected 'July'"):
        read(book, sheet="July")


def test_a_hidden_sheet_does_not_count_beside_one_that_is_shown() -> None:
    sheets = {"Lookup": [["code"], ["x"]], "May": [["a", "b"], [1, 2]]}
    assert read(write_workbook(sheets, hidden=["Lookup"])) == [["1", "2"]]
    assert read(write_workbook(sheets, hidden=["Lookup"]), sheet="Lookup") == [["x"]]
    assert read(write_workbook({"May": sheets["May"]}, hidden=["May"])) == [["1", "2"]]


def test_a_cell_that_is_merged_over_several_rows_counts_in_each() -> None:
    rows = [["city", "size"], ["Seoul", 1], [None, 2], [None, 3], ["Busan", 4]]
    expected = [["Seoul", "1"], ["Seoul", "2"], ["Seoul", "3"], ["Busan", "4"]]
    assert read(write_workbook({"S": rows}, merged=["A2:A4"])) == expected
    # Merged to the right, it is the title of a group.
    headed = [["Places", None], *rows[:2], ["Busan", 4]]
    assert read(write_workbook({"S": headed}, merged=["A1:B1"])) == [["Seoul", "1"], ["Busan", "4"]]


@pytest.mark.parametrize("merged", ["D1:D3", "A9:A12", "D7:E9"])
def test_empty_cells_that_are_merged_beside_the_table_do_no_harm(merged: str) -> None:
    book = write_workbook({"S": [["city", "size"], ["Seoul", 1], ["Busan", 4]]}, merged=[merged])
    assert read(book) == [["Seoul", "1"], ["Busan", "4"]]


def test_dates_and_truths_and_whole_numbers_are_texts_of_people() -> None:
    book = write_workbook({"S": [["day", "ok", "n"], ['<c s="1"><v>45000</v></c>', True, 12345678.0]]})
    assert read(book) == [["2023-03-15", "True", "12345678"]]


def test_a_title_above_the_header_is_left_out() -> None:
    assert read(write_workbook({"S": [["Report of May", None, None], [], *ROWS]})) == READ


def test_a_formula_counts_by_its_value() -> None:
    assert read(write_workbook({"S": [*ROWS[:2], [2, "Lee", "<c><f>1+1</f><v>2</v></c>"]]}))[1][2] == "2"


@pytest.mark.parametrize("formula", ["<c><f>1+1</f></c>", "<c><f>1+1</f><v></v></c>", "<c><f>A1</f><v/></c>"])
def test_a_formula_without_its_value_is_refused(formula: str) -> None:
    with pytest.raises(SourceError, match=r"found a formula without its value, .* save it again"):
        read(write_workbook({"S": [*ROWS, [4, "Choi", formula]]}))


@pytest.mark.timeout(60)
def test_a_worksheet_of_cells_without_an_end_is_refused_in_one_pass() -> None:
    with pytest.raises(SourceError, match="found an Excel workbook that cannot be opened"):
        read(write_workbook({"S": [*ROWS, ["<c " * 300_000]]}))


def test_an_error_of_a_formula_is_a_marker_for_missing() -> None:
    rows = read(write_workbook({"S": [*ROWS, [4, "Choi", '<c t="e"><v>#DIV/0!</v></c>']]}))
    assert rows[-1][2] in {"#DIV/0!", ""}


def test_a_workbook_of_excel_97_is_read() -> None:
    assert read(write_xls(ROWS), "old.xls") == READ


def test_an_opendocument_sheet_is_read() -> None:
    assert read(write_ods(write_ods_row("id", "name") + write_ods_row("7", "Kim")), "sheet.ods") == [["7", "Kim"]]


FILEPASS = struct.pack("<HHHHH", 0x2F, 6, 0, 1, 2)
"""The record of an older workbook's password."""


@pytest.mark.parametrize(
    "content",
    [write_container({"EncryptionInfo": b"x", "EncryptedPackage": b"x"}), write_xls(ROWS, FILEPASS)],
    ids=["newer", "older"],
)
def test_a_workbook_with_a_password_is_refused_by_that(content: bytes) -> None:
    with pytest.raises(SourceError, match=r"file locked.xls: found a workbook with a password, .* without a password"):
        read(content, "locked.xls")


def test_empty_cells_that_an_opendocument_sheet_repeats_to_its_end_do_not_count() -> None:
    empty = '<table:table-row table:number-rows-repeated="1048570"><table:table-cell/></table:table-row>'
    assert read(write_ods(write_ods_row("id") + write_ods_row("7") + empty), "sheet.ods") == [["7"]]


def test_a_damaged_workbook_is_refused() -> None:
    with pytest.raises(SourceError, match=r"found an Excel workbook that cannot be opened, .* save the sheet as CSV"):
        read(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000), "old.xls")


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_workbook_whose_packed_bytes_are_damaged_is_refused_as_such(packing: int) -> None:
    book = pack(packing)
    start = book.index(b"sheet1.xml") + 12
    with pytest.raises(SourceError, match="found a damaged workbook, expected a whole one"):
        read(book[:start] + b"\xff" * 60 + book[start + 60 :])


@pytest.mark.parametrize(("place", "value"), [(6, 1), (8, 77)])
def test_parts_with_a_password_or_of_an_unknown_packing_are_told_as_such(place: int, value: int) -> None:
    book = bytearray(pack(zipfile.ZIP_DEFLATED))
    book[place] = value
    central = book.index(b"PK\x01\x02")
    book[central + place + 2] = value
    with pytest.raises(SourceError, match=r"parts have a password or are packed in an unknown way, .* save it again"):
        read(bytes(book))


def pack(packing: int) -> bytes:
    """A workbook with one sheet of thousand rows, packed in a way."""
    buffer = io.BytesIO()
    rows = "".join(f"<row><c><v>{number}</v></c></row>" for number in range(1000))
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", f"<worksheet><sheetData>{rows}</sheetData></worksheet>")
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return buffer.getvalue()


def test_a_workbook_with_a_damaged_sheet_is_refused() -> None:
    with pytest.raises(SourceError, match=r"found an Excel workbook that cannot be opened, .* as CSV UTF-8"):
        read(write_workbook({"S": [*ROWS, ["<c></b>"]]}))


def test_a_workbook_without_its_parts_is_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(SourceError, match=r"found an Excel workbook that cannot be opened, .* as CSV UTF-8"):
        read(buffer.getvalue())


@pytest.mark.parametrize(("part", "found"), [("word/document.xml", "a Word document"), ("a.csv", "a zip archive")])
def test_another_archive_is_refused_by_its_kind(part: str, found: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(part, "id,name\n1,Kim\n")
    with pytest.raises(SourceError, match=f"found {found}, expected a table"):
        read(buffer.getvalue())


def test_a_binary_workbook_is_refused_in_one_sentence() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("xl/workbook.bin", b"\x83\x01\x00")
    with pytest.raises(SourceError) as refused:
        read(buffer.getvalue(), "sales.xlsb")
    assert str(refused.value) == (
        "file sales.xlsb: found a binary workbook (.xlsb), expected an Excel workbook (.xlsx); save it as .xlsx"
    )


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_workbook_is_refused(share: float) -> None:
    book = write_workbook({"S": ROWS})
    with pytest.raises(SourceError, match="found a damaged workbook, expected a whole one"):
        read(book[: int(len(book) * share)])


def test_parquet_keeps_digits_truths_times_and_gaps() -> None:
    content = write_parquet(
        {
            "n": pa.array([1, 2**53 + 1, None]),
            "x": pa.array([0.5, None, float("nan")]),
            "ok": pa.array([True, False, None]),
            "at": pa.array([1767323045, 1767312000, None], pa.timestamp("s")),
            "town": pa.array(["Seoul", "Busan", "Seoul"]).dictionary_encode(),
            "cost": pa.array([Decimal("1.20"), None, None]),
        }
    )
    assert read(content, "t.parquet") == [
        ["1", "0.5", "True", "2026-01-02 03:04:05", "Seoul", "1.20"],
        ["9007199254740993", "", "False", "2026-01-02", "Busan", ""],
        ["", "", "", "", "Seoul", ""],
    ]


@pytest.mark.parametrize(
    "column",
    [pa.array([[1], [2]]), pa.array([{"a": 1}, None]), pa.array([b"\xff", b"a"]),
     pa.array([b"x", b"a"]).dictionary_encode()],
)  # fmt: skip
def test_a_parquet_column_of_lists_structures_or_bytes_is_refused(column: pa.Array) -> None:
    with pytest.raises(SourceError, match="found the column 'tags' of lists, structures or bytes"):
        read(write_parquet({"n": pa.array([1, 2]), "tags": column}), "t.parquet")


def test_parquet_columns_have_names_for_people() -> None:
    content = write_parquet({"distance\n(km)": [1, 2], "나이": [3, 4], "__index_level_0__": [0, 1]})
    records = open_table(io.BytesIO(content), "t.parquet", recognize_table(io.BytesIO(content), "t.parquet").reading)
    assert records.header == ["distance (km)", "나이", "column 3"]


def test_a_parquet_file_has_no_comments_titles_or_returns() -> None:
    content = write_parquet({"# size": pa.array(["cm", "3", "4"]), "kind": pa.array(["a\r\nb", "c\rd", "e"])})
    reading = Reading(skip_lines=2, comment="#", unit_row=True)
    for found in (recognize_table(io.BytesIO(content), "t.parquet").reading, reading):
        records = open_table(io.BytesIO(content), "t.parquet", found)
        assert records.header == ["# size", "kind"]
        assert [row for block in records for row in block.frame["kind"]] == ["a\nb", "c\nd", "e"]


def test_a_truncated_parquet_file_is_refused() -> None:
    with pytest.raises(SourceError, match="found a Parquet file that cannot be read"):
        read(write_parquet({"n": [1, 2]})[:-20], "t.parquet")
