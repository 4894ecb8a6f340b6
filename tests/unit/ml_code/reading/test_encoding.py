from __future__ import annotations

import io

import pytest

from ml_code.reading.encoding import recognize_encoding

KOREAN = "번호,이름\n" + "".join(f"{number},김철수 {number}\n" for number in range(30))
GERMAN = "id,Straße\n" + "".join(f"{number},München {number}\n" for number in range(30))
CITIES = "编号,城市,价格,面积,年龄,工资,性别\n1,北京,5,6,7,8,男\n2,上海,5,6,7,8,女\n"
PRODUCTS = "产品,数量,单价\uff08元\uff09\n苹果,3,5\n白菜,4,6\n"
PLAIN = "id,name\n" + "".join(f"{number},Kim\n" for number in range(30))


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (PLAIN.encode(), "utf-8"),
        (b"", "utf-8"),
        (KOREAN.encode(), "utf-8"),
        (KOREAN.encode("utf-8-sig"), "utf-8"),
        (KOREAN.encode("utf-16"), "utf-16"),
        (b"\xfe\xff" + KOREAN.encode("utf-16-be"), "utf-16"),
        (KOREAN.encode("utf-16-le"), "utf-16-le"),
        (KOREAN.encode("utf-16-be"), "utf-16-be"),
        (KOREAN.encode("cp949"), "cp949"),
        (PLAIN.encode() + "31,김\n".encode("cp949"), "cp949"),
        (KOREAN.encode("cp949") + "31,서울".encode("cp949")[:-1] + b"\n", "cp949"),
        (("나이,면적\n" + "3,…㎡\n" * 30).encode("cp949"), "cp949"),
        (CITIES.encode("gb18030"), "gb18030"),
        (PRODUCTS.encode("gb18030"), "gb18030"),
        (GERMAN.encode("cp1252"), "cp1252"),
        (PLAIN.encode() + "31,José\n".encode("cp1252"), "cp1252"),
        (PLAIN.encode() + "31,5 €\n32,it\u2019s\n".encode("cp1252"), "cp1252"),
    ],
)
def test_an_encoding_is_recognized(content: bytes, encoding: str) -> None:
    assert recognize_encoding(io.BytesIO(content)) == encoding


def test_one_foreign_line_at_the_end_of_a_large_file_decides() -> None:
    content = PLAIN.encode() * 20_000 + "31,김철수\n".encode("cp949")
    assert recognize_encoding(io.BytesIO(content)) == "cp949"


def test_a_few_broken_lines_do_not_change_the_encoding() -> None:
    assert recognize_encoding(io.BytesIO(KOREAN.encode() + b"31,\xff\n")) == "utf-8"


def test_text_of_utf16_below_a_plain_start_does_not_change_the_encoding() -> None:
    assert recognize_encoding(io.BytesIO(PLAIN.encode() + PLAIN.encode("utf-16-le") * 9)) == "utf-8"
