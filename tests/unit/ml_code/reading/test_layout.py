from __future__ import annotations

from typing import Any

import pytest

from ml_code.reading.layout import recognize_layout

HEADER = "id,name,price\n"
ROWS = "".join(f"{number},Kim {number},{number}.5\n" for number in range(1, 30))
TABLE = HEADER + ROWS
SEMICOLONS = TABLE.replace(",", ";")
COMMA_ROWS = "".join(f"{number};1,5;2,{number};3,7;x\n" for number in range(1, 30))


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (TABLE, {}),
        (SEMICOLONS, {"separator": ";"}),
        (TABLE.replace(",", "\t"), {"separator": "\t"}),
        (TABLE.replace(",", "|"), {"separator": "|"}),
        (TABLE.replace("\n", "\r\n"), {}),
        (TABLE.replace("\n", "\r"), {"line_end": "cr"}),
        ("sep=;\r\n" + SEMICOLONS, {"separator": ";", "skip_lines": 1}),
        ("sep=,\n" + TABLE, {"skip_lines": 1}),
        ("# made by hand\n# on May 1, 2026\n" + TABLE, {"comment": "#"}),
        ("Report\n" + TABLE, {"skip_lines": 1}),
        ("Report of May, 2026\n\n" + TABLE, {"skip_lines": 2}),
        ("Report of May, 2026\n\n" + SEMICOLONS, {"separator": ";", "skip_lines": 2}),
        ('"Report\nof May",,\n' + TABLE, {"skip_lines": 2}),
        (HEADER + ",,KRW\n" + ROWS, {"unit_row": True}),
        ("id,width,price\n-,cm,(KRW)\n" + "".join(f"{i},{i},{i}\n" for i in range(9)), {"unit_row": True}),
        (",name,price\n" + ROWS, {}),
        ("name,price\n" + ROWS, {"extra_field": "first"}),
        (HEADER + ROWS.replace("\n", ",\n"), {"extra_field": "last"}),
        (HEADER + ROWS.replace("\n", ",,\n"), {"extra_field": "last"}),
        ("#,name,age\n" + ROWS, {}),
        ("price\n1\n2\n", {}),
        ("text\n" + "Kim Lee\n" * 9, {}),
        ('id,"full\nname",price\n' + ROWS, {}),
        ("id;a;b;c;d\n" + COMMA_ROWS, {"separator": ";"}),
        ("id;a;b;c;d\n" + COMMA_ROWS + "3;1,2;1,1;3,3\n" * 8, {"separator": ";"}),
        ("name;weight\n" + "a;2,5\n" * 9, {"separator": ";"}),
        ("id\tname\ttext\n" + "1\tKim, Lee\ta, b, c\n" * 9, {"separator": "\t"}),
        ("id,name,text\n" + "1,Kim; Lee,a; b; c\n" * 9, {}),
        ('id, name\n1, "Kim, Lee"\n2, "Park, Choi"\n', {}),
        (HEADER + "1,Kim,2\n", {}),
        ("id,a,b\n1,ND,x\n" + "".join(f"{n},{n if n % 3 else 'ND'},{n if n % 4 else 'x'}\n" for n in range(30)), {}),
    ],
)
def test_a_layout_is_recognized(text: str, keys: dict[str, Any]) -> None:
    layout = recognize_layout(text)
    assert (layout.keys, layout.values) == (keys, None)


@pytest.mark.parametrize("keys", [{"separator": ";"}, {"comment": "#"}, {"skip_lines": 1}])
def test_every_recognized_key_has_a_sentence(keys: dict[str, Any]) -> None:
    text = {"separator": SEMICOLONS, "comment": "# a\n" + TABLE, "skip_lines": "Report\n" + TABLE}[next(iter(keys))]
    assert len(recognize_layout(text).notes) == 1


@pytest.mark.parametrize(
    "text",
    [
        ROWS,
        "6,148,72,33.6,0\n1,85,66,26.6,1\n8,183,64,23.3,0\n",
        "5.1,3.5,setosa\n4.9,3.0,setosa\n6.1,3.1,virginica\n",
        "Kim,Seoul,35\nLee,Busan,41\nPark,Seoul,28\n",
        "20,Seoul,0,yes\n27,Busan,31,no\n34,Seoul,62,yes\n",
        "male,Seoul,yes\nfemale,Seoul,yes\nmale,Busan,no\n",
    ],
)
def test_a_file_without_a_header_is_noticed(text: str) -> None:
    assert recognize_layout(text).values is not None


@pytest.mark.parametrize(
    "header", ["country,2001,2002,2003", "2001,2002,2003,2004", ",0,1,2", "0,1,2,3", "site,10,20,30", "a,b,c,d"]
)
def test_years_and_steps_are_names(header: str) -> None:
    assert recognize_layout(f"{header}\n" + "7,1.5,2,3\n8,2.5,1,4\n").values is None


def test_a_header_that_comes_again_is_still_one() -> None:
    assert recognize_layout("name,town\nKim,Seoul\nname,town\nLee,Busan\n").values is None
