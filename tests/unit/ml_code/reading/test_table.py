from __future__ import annotations

import csv
import gzip
import io
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_code.errors import SourceError
from ml_code.reading.rules import Reading
from ml_code.reading.table import open_table, recognize_table

HEADER = "id,name,price\n"
ROWS = "".join(f"{number},김철수 {number},{number}.5\n" for number in range(1, 30))
TABLE = HEADER + ROWS
FIRST = ["1", "김철수 1", "1.5"]

FORMS = {
    "plain": TABLE.encode(),
    "BOM": TABLE.encode("utf-8-sig"),
    "UTF-16": TABLE.encode("utf-16"),
    "UTF-16 LE": TABLE.encode("utf-16-le"),
    "UTF-16 BE": TABLE.encode("utf-16-be"),
    "CP949": TABLE.encode("cp949"),
    "semicolons": TABLE.replace(",", ";").encode(),
    "tabs": TABLE.replace(",", "\t").encode(),
    "pipes": TABLE.replace(",", "|").encode(),
    "CRLF": TABLE.replace("\n", "\r\n").encode(),
    "CR": TABLE.replace("\n", "\r").encode(),
    "sep line": b"sep=;\r\n" + TABLE.replace(",", ";").encode(),
    "comments": b"# a\n" + TABLE.encode() + b"# b, c\n",
    "title": b"Report\n\n" + TABLE.encode(),
    "units": (HEADER + ",,KRW\n" + ROWS).encode(),
    "trailing": (HEADER + ROWS.replace("\n", ",\n") + "30,x,2\n31,x,2,,\n").encode(),
    "empty records": (TABLE + ",,\n , ,\n\n").encode(),
}


def read(content: bytes, name: str = "t.csv", reading: Reading | None = None) -> tuple[list[str], list[Any], list[Any]]:
    """Header, rows and bad rows; recognized, or by the given rules."""
    reading = reading or recognize_table(io.BytesIO(content), name).reading
    records = open_table(io.BytesIO(content), name, reading)
    blocks = list(records)
    rows = [row for block in blocks for row in block.frame.astype(object).to_numpy().tolist()]
    return records.header, rows, [row for block in blocks for row in block.bad]


@pytest.mark.parametrize("form", FORMS)
def test_a_table_of_any_form_is_read_also_packed(form: str) -> None:
    content = FORMS[form]
    header, rows, bad = read(content)
    assert (header, rows[0], bad) == (["id", "name", "price"], FIRST, [])
    assert len(rows) == (31 if form == "trailing" else 29)
    assert read(gzip.compress(content), "t.csv.gz") == (header, rows, bad)


def test_names_of_rows_and_of_unnamed_columns() -> None:
    assert read(b"name,price\n1,Kim,2\n2,Lee,3\n")[:2] == (
        ["column 1", "name", "price"],
        [["1", "Kim", "2"], ["2", "Lee", "3"]],
    )
    assert read(b",name\n1,Kim\n")[0] == ["column 1", "name"]


def test_quoted_fields_may_have_blanks_and_line_breaks() -> None:
    content = b'"id", "full\r\nname", "x"\n1, "Kim, A", "a"\n2, "Lee\nB", "b"\n'
    assert read(content) == (["id", "full name", "x"], [["1", "Kim, A", "a"], ["2", "Lee\nB", "b"]], [])


@pytest.mark.parametrize("rows", [1, 20])
def test_a_table_of_three_thousand_columns_is_read(rows: int) -> None:
    names = ",".join(f"c{number}" for number in range(3000))
    header, found, bad = read((names + "\n" + (",".join(["1.5"] * 3000) + "\n") * rows).encode())
    assert (len(header), len(found), bad) == (3000, rows, [])


def test_a_header_with_a_name_twice_or_of_values_is_refused() -> None:
    with pytest.raises(SourceError, match=r"one column name twice \(columns 1 and 3\)"):
        read(b"id,a,id\n1,2,3\n")
    with pytest.raises(SourceError, match=r"found values in the first line .*; add a header line above it") as raised:
        read(ROWS.encode())
    assert ROWS.splitlines()[0] not in str(raised.value)


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (TABLE.encode(), ROWS.replace(",", ";").encode(), "the separator is a semicolon, expected a comma"),
        (TABLE.encode(), ROWS.encode("cp949"), "found bytes that are not UTF-8, but look like cp949"),
        (TABLE.encode(), ROWS.encode("utf-16-le"), "found UTF-16, expected UTF-8"),
        (TABLE.encode("utf-16"), ROWS.encode() * 9, "found UTF-8, expected utf-16"),
    ],
)
def test_a_file_that_changes_in_the_middle_has_bad_rows_that_name_it(first: bytes, second: bytes, reason: str) -> None:
    reading = recognize_table(io.BytesIO(first), "t.csv").reading
    _, rows, bad = read(first + second, reading=reading)
    assert rows[0] == FIRST
    assert [row for row in rows if row[1] != f"김철수 {row[0]}"] == []
    assert reason in bad[0].reason


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9,
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + bytes(range(256)) * 9,
        random.Random(1).randbytes(5000),
        bytes(5000),
        b"<!DOCTYPE html>\n<html></html>\n",
        b"{\\rtf1 a,b\n",
    ],
)
def test_a_file_of_another_kind_is_refused_without_its_bytes(content: bytes) -> None:
    for act in (lambda: recognize_table(io.BytesIO(content), "t.csv"), lambda: read(content, reading=Reading())):
        with pytest.raises(SourceError, match="which is not a table") as error:
            act()
        assert str(error.value).isprintable()
        assert len(str(error.value)) < 250


@pytest.mark.parametrize(
    ("content", "rules", "message"),
    [
        (TABLE.replace(",", ";"), {}, "found a semicolon as the separator, expected a comma as the separator"),
        (TABLE, {"separator": ";"}, "found a comma as the separator, expected a semicolon"),
        ("Report\n" + TABLE, {}, "found 1 lines above the header, expected 0 lines"),
        (TABLE.encode("utf-16"), {}, "found the encoding utf-16, expected the encoding utf-8"),
        (TABLE.encode("cp949"), {}, None),
    ],
)
def test_a_later_file_in_another_dialect_is_refused_by_the_difference(
    content: str | bytes, rules: dict[str, Any], message: str | None
) -> None:
    raw = content.encode() if isinstance(content, str) else content
    for packed, name in ((raw, "t.csv"), (gzip.compress(raw), "t.csv.gz")):
        if message is None:
            assert open_table(io.BytesIO(packed), name, Reading(**rules), ["id", "price"]).header
            continue
        with pytest.raises(SourceError, match=rf"{message}.*, by \[reading\] of .*; save it as"):
            open_table(io.BytesIO(packed), name, Reading(**rules), ["id", "price"])


def test_the_stream_of_a_table_stays_open() -> None:
    stream = io.BytesIO(TABLE.encode())
    recognize_table(stream, "t.csv")
    assert stream.tell() == 0
    assert open_table(stream, "t.csv", Reading()).header == ["id", "name", "price"]
    stream.seek(0)


CELLS = st.text(st.sampled_from("abK김ü ,;|\"'."), max_size=8).map(str.strip)
TABLES = st.lists(st.tuples(st.integers(0, 10**6), CELLS, st.floats(-1e6, 1e6).map(repr)), min_size=3, max_size=20)


def write(rows: list[tuple[Any, ...]], separator: str, encoding: str, end: str) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(["id", "나이", "price"])
    writer.writerows((number, name, float(price)) for number, name, price in rows)
    return text.getvalue().encode(encoding)


@settings(max_examples=40, deadline=None)
@given(rows=TABLES, separator=st.sampled_from(",;\t|"), end=st.sampled_from(["\n", "\r\n"]))
def test_one_table_reads_alike_in_every_dialect(rows: list[tuple[Any, ...]], separator: str, end: str) -> None:
    expected = [[str(number), name, price] for number, name, price in rows]
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        header, found, bad = read(write(rows, separator, encoding, end))
        assert (header, bad) == (["id", "나이", "price"], [])
        assert [["" if cell != cell else cell for cell in row] for row in found] == expected  # noqa: PLR0124  NaN


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"ARROW1\0\0" + bytes(range(9)) * 99, "a Feather file"),
        (b"$FL2@(#) SPSS DATA FILE" + bytes(99), "an SPSS file"),
        (b"<stata_dta><header>" + bytes(99), "a Stata file"),
        (bytes(12) + b"\xc2\xea\x81\x60" + bytes(99), "a SAS file"),
        (b"RDX3\nX\n" + bytes(99), "an R file"),
        (b"<table><tr><td>1</td></tr></table>", "a web page"),
    ],
)
def test_a_file_of_another_program_is_named(content: bytes, kind: str) -> None:
    with pytest.raises(SourceError, match=f"found {kind}, which is not a table"):
        recognize_table(io.BytesIO(content), "t.csv")


def test_a_table_of_explosives_is_no_file_of_r() -> None:
    assert recognize_table(io.BytesIO(b"RDX,HMX,TNT\n1,2,3\n4,5,6\n"), "t.csv").reading == Reading()
