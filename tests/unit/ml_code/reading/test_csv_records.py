from __future__ import annotations

import csv
import gzip
import io
import random
import tracemalloc
from typing import Any

import pandas as pd
import pytest

from ml_code.errors import SourceError
from ml_code.reading import csv_records
from ml_code.reading.blocks import BadRow, Block
from ml_code.reading.csv_records import CsvRecords
from ml_code.reading.grammar import show_columns
from ml_code.reading.rules import Reading

HEADER = b"number,name,town\n"


def read(content: bytes, name: str = "people.csv", **rules: Any) -> list[Block]:
    return list(CsvRecords(io.BytesIO(content), name, Reading(**rules)))


def list_rows(blocks: list[Block]) -> list[list[Any]]:
    return [row for block in blocks for row in block.frame.astype(object).to_numpy().tolist()]


def list_bad(content: bytes) -> list[BadRow]:
    return [row for block in read(content) for row in block.bad]


def test_rows_come_with_their_lines_and_their_raw_text() -> None:
    (block,) = read(HEADER + b'1,Kim,Seoul\n\n2,"Lee, Jr.","two\nlines"\n3,Park,Busan')
    assert block.lines == [2, 4, 6]
    assert block.raw == [b"1,Kim,Seoul", b'2,"Lee, Jr.","two\nlines"', b"3,Park,Busan"]
    assert block.frame["name"].tolist() == ["Kim", "Lee, Jr.", "Park"]
    assert block.frame["town"].tolist() == ["Seoul", "two\nlines", "Busan"]
    assert block.bad == []


def test_cells_stay_text_and_an_empty_one_is_missing() -> None:
    (block,) = read(HEADER + b'007,NA,\n8,null,""\n')
    assert block.frame["number"].tolist() == ["007", "8"]
    assert block.frame["name"].tolist() == ["NA", "null"]
    assert block.frame["town"].isna().all()
    assert all(pd.api.types.is_string_dtype(dtype) for dtype in block.frame.dtypes)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r\r\n"])
def test_all_line_ends_and_a_byte_order_mark_are_read(end: bytes) -> None:
    blocks = read(b"\xef\xbb\xbf" + end.join([b"number,name,town", b"1,Kim,Seoul", b"", b'2,"a\r\nb",x', b""]))
    assert list_rows(blocks) == [["1", "Kim", "Seoul"], ["2", "a\r\nb", "x"]]
    assert blocks[0].lines == [2, 4]


@pytest.mark.parametrize(
    ("line", "column", "reason"),
    [
        (b"2,Lee", "", "too few fields: found 2, expected 3"),
        (b"2", "", "too few fields: found 1, expected 3"),
        (b"2,Lee,Busan,x", "", "too many fields: found 4, expected 3"),
        (b'2,"Lee, Jr.",Busan,"x"', "", "too many fields: found 4, expected 3"),
        (b'2,"Lee,Busan', "", "broken quotes"),
        (b'2,Lee "Jr.",Busan', "", "broken quotes"),
        (b'2,"Lee"x,Busan', "", "broken quotes"),
        (b'2,5" nail,Busan', "", "broken quotes"),
        (b"2,Lee,Bu\rsan", "", "found a carriage return inside the line, expected LF or CRLF"),
        (b"2,\xb1\xe8,Busan", "name", "found bytes that are not UTF-8, but look like cp949"),
        (b'2,Lee,"\xff\xe8"', "town", "found bytes that are not UTF-8"),
        (b"2,Lee,Bu\0san", "town", "found a NUL byte"),
    ],
)
def test_a_malformed_line_is_set_aside_and_the_others_are_read(line: bytes, column: str, reason: str) -> None:
    blocks = read(HEADER + b"1,Kim,Seoul\n" + line + b"\n3,Park,Busan\n")
    assert list_rows(blocks) == [["1", "Kim", "Seoul"], ["3", "Park", "Busan"]]
    assert blocks[0].lines == [2, 4]
    assert blocks[0].bad == [BadRow(3, column, reason, line.decode(errors="backslashreplace"))]


def test_an_unclosed_quote_costs_one_line() -> None:
    rows = b"".join(b"%d,Kim,Seoul\n" % number for number in range(500))
    blocks = read(HEADER + b'x,"Lee,Busan\n' + rows)
    assert [row.line for row in blocks[0].bad] == [2]
    assert len(list_rows(blocks)) == 500


def test_a_quote_that_closes_too_many_lines_later_costs_its_two_lines() -> None:
    between = b"".join(b"%d,Kim,Seoul\n" % number for number in range(csv_records.RECORD_LINES))
    blocks = read(HEADER + b'x,"Lee\n' + between + b'Park",Busan\n')
    assert [row.reason for row in blocks[0].bad] == ["broken quotes", "broken quotes"]
    assert len(list_rows(blocks)) == csv_records.RECORD_LINES


def test_quotes_around_lines_that_make_no_row_together_cost_only_the_broken_ones() -> None:
    (block,) = read(HEADER + b'1,"Kim,Seoul\n2,Lee,Busan\n3,Park",Daegu,x\n4,Choi,Ulsan\n')
    assert [row.line for row in block.bad] == [2, 4]
    assert block.lines == [3, 5]


def test_a_record_over_several_lines_that_is_not_utf8_is_one_bad_row() -> None:
    (bad,) = list_bad(HEADER + b'1,Kim,"a\n\xff"\n2,Lee,b\n')
    assert bad == BadRow(2, "town", "found bytes that are not UTF-8", '1,Kim,"a\n\\xff"')


def test_a_table_of_one_column_is_read() -> None:
    blocks = read(b'name\nKim\n\n"Lee, Jr."\na,b\n""\n')
    assert blocks[0].raw == [b"Kim", b'"Lee, Jr."', b'""']
    assert blocks[0].lines == [2, 4, 6]
    assert [row.line for row in blocks[0].bad] == [5]


def test_a_packed_file_is_unpacked() -> None:
    assert list_rows(read(gzip.compress(HEADER + b"1,Kim,Seoul\n"), "people.csv.gz")) == [["1", "Kim", "Seoul"]]


def test_a_truncated_packed_file_is_refused() -> None:
    rows = "".join(f"{number},{random.Random(number).random()},x\n" for number in range(5000))
    packed = gzip.compress(HEADER + rows.encode())
    for content in (packed[: len(packed) // 2], b"no gzip at all", packed[:-1], packed[:-8] + bytes(8)):
        with pytest.raises(SourceError, match=r"people\.csv\.gz: found a truncated or damaged gzip file"):
            read(content, "people.csv.gz")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found an empty file, expected a header and rows"),
        (HEADER, "found a header and no rows"),
        (HEADER.rstrip() + b"\r\n\r\n\n", "found a header and no rows"),
        (HEADER.rstrip(), "found a header and no rows"),
        (b"number,name,number\n1,2,3\n", "found one column name twice \\(columns 1 and 3\\)"),
        (b"\n1,2,3\n", "found an empty header, expected a name for each column"),
        (b",,\n1,2,3\n", "found an empty header, expected a name for each column"),
        (b'number,"name,town\n1,2,3\n', "expected a header of names, each quoted whole"),
        (b"number,name\r1,2\r", "expected a header of names, each quoted whole"),
        ("number,name\n1,2\n".encode("utf-16"), "found bytes that are not text, which is not a table"),
        ("number,이름\n1,2\n".encode("euc-kr"), "expected names in utf-8"),
        (b"x" * 3_000_000, "expected a header of names, each quoted whole"),
    ],
)
def test_a_file_that_is_not_a_table_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        read(content)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"TOKEN=hunter22\0PATH=/usr/hunter22\0", "bytes that are not text"),
        (b"name,TOKEN=hunter22" * 9 + b"\0,x" * 3, "a first line of 180 bytes that begin with 6e 61 6d 65"),
        (b'TOKEN=hunter22 "quoted\n', "a first line of 22 bytes that begin with 54 4f 4b 45"),
        (b"TOKEN=hunter22,\xff\xff\n1,2\n", "a header of 17 bytes that begin with 54 4f 4b 45"),
        (b"hunter22,a,hunter22\n1,2,3\n", "one column name twice"),
    ],
)
def test_nothing_of_a_file_that_is_not_accepted_is_shown(content: bytes, kind: str) -> None:
    with pytest.raises(SourceError, match=kind) as raised:
        read(content)
    assert "hunter" not in str(raised.value)


def test_the_columns_of_a_file_are_shown_if_it_has_one_that_is_expected() -> None:
    assert show_columns(["root:x:0:0:root:/root"], ["age", "town"]) == "(1 other names)"
    assert show_columns(["age", "city"], ["age", "town"]) == "age, city"
    assert len(show_columns(["age", *["x" * 50] * 9], ["age"])) < 230


@pytest.mark.parametrize(
    ("column", "reason", "shown"),
    [
        ("age", "found 'hunter22, expected luck', expected a number", "line 7: age: expected a number"),
        ("age", "found 'hunter22' again", "line 7: age: found an invalid cell"),
        ("", "too few fields: found 2, expected 3", "line 7: too few fields: found 2, expected 3"),
    ],
)
def test_a_message_about_a_bad_row_quotes_no_cell(column: str, reason: str, shown: str) -> None:
    assert BadRow(7, column, reason, "7,hunter22").describe() == shown


def test_a_line_without_end_is_one_bad_row_and_reading_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_records, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(csv_records, "RECORD_BYTES", 500)
    blocks = read(HEADER + b"1,Kim,Seoul\n2,Lee," + b"x" * 5000 + b"\n3,Park,Busan\n")
    assert list_rows(blocks) == [["1", "Kim", "Seoul"], ["3", "Park", "Busan"]]
    (bad,) = [row for block in blocks for row in block.bad]
    assert (bad.line, bad.raw[:7]) == (3, "2,Lee,x")
    assert bad.reason.startswith("found a record of more than 500 bytes")
    assert [line for block in blocks for line in block.lines] == [2, 4]


def make_record(chance: random.Random) -> list[str]:
    letters = ["a", "é", "김", ",", '"', "\n", "\r\n", " ", "\\.", ""]
    return ["".join(chance.choices(letters, k=chance.randrange(5))) for _ in range(3)]


def write_rows(rows: list[list[str]], chance: random.Random) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(["number", "name", "town"])
    for row in rows:
        quoting = chance.choice([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC])
        csv.writer(text, quoting=quoting, lineterminator=chance.choice(["\n", "\r\n"])).writerow(row)
    return text.getvalue().encode()


@pytest.mark.parametrize("seed", range(8))
def test_rows_of_a_csv_writer_are_read_unchanged(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(csv_records, "BLOCK_BYTES", chance.choice([60, 500, 4096]))
    rows = [make_record(chance) for _ in range(100)]
    blocks = read(write_rows(rows, chance), skip_empty=False)
    assert [bad for block in blocks for bad in block.bad] == []
    assert list_rows([Block([], [], block.frame.fillna(""), []) for block in blocks]) == rows


@pytest.mark.parametrize("seed", range(6))
def test_bad_rows_do_not_depend_on_the_ends_of_blocks(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    content = bytearray(write_rows([make_record(chance) for _ in range(100)], chance))
    for _ in range(20):
        content[chance.randrange(20, len(content))] = chance.choice(b'",\n\xff\0\r')
    found = []
    for size in (50, 300, 1_000_000):
        monkeypatch.setattr(csv_records, "BLOCK_BYTES", size)
        blocks = read(bytes(content))
        good = [(line, raw) for block in blocks for line, raw in zip(block.lines, block.raw, strict=True)]
        found.append((good, [bad for block in blocks for bad in block.bad]))
    assert found[0][1]
    assert found[0] == found[1] == found[2]


class EndlessRows(io.RawIOBase):
    """A file that is made while it is read, in small pieces as a network gives them."""

    def __init__(self, size_bytes: int) -> None:
        self._left_bytes = size_bytes
        self._next = HEADER

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._left_bytes <= 0:
            return 0
        piece = self._next[: len(buffer)]
        self._next = self._next[len(piece) :] or b"".join(b"%d,Kim,Seoul\n" % number for number in range(2000))
        self._left_bytes -= len(piece)
        buffer[: len(piece)] = piece
        return len(piece)


def peak_bytes(size_bytes: int) -> int:
    tracemalloc.start()
    try:
        assert sum(len(block.raw) for block in CsvRecords(EndlessRows(size_bytes), "long.csv")) > size_bytes / 20  # type: ignore[arg-type]
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_longer_file_takes_no_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_records, "BLOCK_BYTES", 100_000)
    monkeypatch.setattr(csv_records, "RECORD_BYTES", 50_000)
    peak_bytes(300_000)  # what is loaded once
    assert peak_bytes(1_200_000) < 1.2 * peak_bytes(300_000)


@pytest.mark.parametrize(
    ("rows", "bad_lines"),
    [
        (["sum,5", "max,4", "min,6"], []),  # functions
        (["Mean,5", "a,4", "b,6"], []),
        (["평균,5", "서울,4", "부산,6"], []),
        (["partial,7", "partial,9", "total,8"], []),  # eclipses
        (["Total,10", "a,4", "b,6", "Total,10"], [2, 5]),
        (["a,4", "b,6", "average,5"], [4]),
        (["sum,3", "1,4", "2,6"], [2]),  # numbered rows
    ],
)
def test_a_word_for_a_total_is_a_row_unless_its_numbers_are_a_total(rows: list[str], bad_lines: list[int]) -> None:
    assert [row.line for row in list_bad("\n".join(["name,ms", *rows]).encode())] == bad_lines
