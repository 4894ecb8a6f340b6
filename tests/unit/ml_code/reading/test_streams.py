from __future__ import annotations

import gzip
import io
from typing import Any

import pytest

from ml_code.reading.streams import Rejoined, Utf8Stream

TEXT = "번호,이름\n1,김철수\n2,이영희\n"


def read(content: bytes, encoding: str, size: int, **rules: Any) -> bytes:
    stream = Utf8Stream(io.BytesIO(content), encoding, is_packed=rules.pop("is_packed", False), **rules)
    parts = []
    while part := stream.read(size):
        parts.append(part)
    assert all(len(part) == size for part in parts[:-1])
    return b"".join(parts)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp949"])
def test_every_encoding_is_read_as_utf8_in_reads_of_the_requested_size(encoding: str, size: int) -> None:
    assert read(TEXT.encode(encoding), encoding.removesuffix("-sig"), size) == TEXT.encode()


def test_lines_of_utf8_among_those_of_another_encoding_are_read_as_what_they_are() -> None:
    mixed = TEXT.encode("cp949") + "3,박지성\n".encode()
    assert read(mixed, "cp949", 1000).decode() == TEXT + "3,박지성\n"
    assert read("1,é\n".encode("cp1252") + "2,é\n".encode(), "cp1252", 3).decode() == "1,é\n2,é\n"


def test_bytes_that_are_not_of_the_encoding_stay_as_they_are() -> None:
    assert read(b"1,\xff\n2,a\n", "cp949", 1000) == b"1,\xff\n2,a\n"


def test_a_packed_file_is_unpacked_first() -> None:
    assert read(gzip.compress(TEXT.encode("cp949")), "cp949", 5, is_packed=True) == TEXT.encode()


def test_carriage_returns_become_line_feeds_where_they_end_the_lines() -> None:
    assert read(b"a,b\r1,2\r", "utf-8", 3, line_end="cr") == b"a,b\n1,2\n"


def test_the_start_of_a_stream_is_read_again() -> None:
    stream = io.BytesIO(b"abcdef")
    start = stream.read(3)
    rejoined = Rejoined(start, stream)
    assert [rejoined.read(2), rejoined.read(2), rejoined.read()] == [b"ab", b"c", b"def"]
    assert Rejoined(b"abc", io.BytesIO(b"def")).read() == b"abcdef"
