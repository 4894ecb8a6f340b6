from __future__ import annotations

from typing import Any

import orjson
import pytest

from ml_code.model_file.spec import Feature, GoldenRows, ModelSpec
from serving.answering.findings import MAX_PROBLEMS
from serving.answering.rows import RowParser
from serving.errors import RequestError
from serving.limits import MAX_ROWS

SHIPS = RowParser(
    ModelSpec(
        dataset="ships",
        task="regression",
        target="price",
        features=[Feature(name="size", kind="numeric"), Feature(name="port", kind="categorical")],
        prediction_output="price",
        golden=GoldenRows(rows=[], predictions=[]),
    )
)
POINTS = RowParser(
    ModelSpec(
        dataset="points",
        task="regression",
        target="z",
        features=[Feature(name="x", kind="numeric"), Feature(name="y", kind="numeric")],
        prediction_output="z",
        golden=GoldenRows(rows=[], predictions=[]),
    )
)


def refuse(parser: RowParser, body: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        parser.parse(body if isinstance(body, bytes) else orjson.dumps(body))
    return caught.value


def test_arrays_and_objects_may_be_mixed_and_objects_come_in_any_order() -> None:
    assert SHIPS.parse(b'[[1, "busan"], {"port": "jeju", "size": 2.5}]').rows == [[1, "busan"], [2.5, "jeju"]]
    assert POINTS.parse(b'[[1, 2.5], {"y": 4, "x": 3}]').rows == [[1, 2.5], [3, 4]]


def test_null_is_a_missing_value() -> None:
    assert SHIPS.parse(b"[[null, null]]").rows == [[None, None]]
    assert POINTS.parse(b"[[null, 1]]").rows == [[None, 1]]


def test_a_category_may_be_a_whole_number_however_json_spells_it() -> None:
    assert SHIPS.parse(b"[[1, 3], [1, 3.0]]").rows == [[1, 3], [1, 3]]


@pytest.mark.parametrize(
    "body",
    [b"", b"[[1, 2]", b"not json", b"[[NaN, 1]]", b"[[Infinity, 1]]", b"[[1e400, 1]]", b"[" * 50_000, b"\xff\xfe"],
)
def test_what_is_not_json_is_a_bad_request(body: bytes) -> None:
    assert refuse(POINTS, body).status == 400


@pytest.mark.parametrize("body", [{}, "text", 1, None, True, [], {"rows": [[1, 2]]}])
def test_anything_but_an_array_with_rows_is_refused(body: Any) -> None:
    error = refuse(POINTS, body)
    assert error.status == 422
    assert "expected" in error.message


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("5.1", "the text '5.1'"),
        (True, "true"),
        ([1], "an array"),
        ({}, "an object"),
        (1e39, "1e+39"),
        (-1e40, "-1e+40"),
    ],
)
def test_a_cell_that_is_no_number_is_named_by_row_and_field(cell: Any, found: str) -> None:
    error = refuse(POINTS, [[1, 2], [1, cell]])
    assert error.status == 422
    assert [(problem.row, problem.field) for problem in error.detail] == [(1, "y")]
    assert found in error.detail[0].problem


@pytest.mark.parametrize("cell", [1.5, ["busan"], {}, 1e300])
def test_a_cell_that_is_not_a_category_is_named_by_row_and_field(cell: Any) -> None:
    error = refuse(SHIPS, [[1, cell]])
    assert [(problem.row, problem.field) for problem in error.detail] == [(0, "port")]


def test_wrong_arity_says_what_is_expected() -> None:
    error = refuse(POINTS, [[1, 2], [1], [1, 2, 3]])
    assert [problem.row for problem in error.detail] == [1, 2]
    assert error.detail[0].problem == "found 1 values, expected 2: x, y"


def test_unknown_and_missing_fields_are_both_named() -> None:
    error = refuse(POINTS, [{"x": 1, "z": 2}])
    assert [(problem.row, problem.field) for problem in error.detail] == [(0, "z"), (0, "y")]


@pytest.mark.parametrize("row", [1, None, "1,2", True])
def test_a_row_that_is_neither_array_nor_object_is_named(row: Any) -> None:
    assert refuse(POINTS, [row]).detail[0].row == 0


def test_an_answer_names_no_more_problems_than_a_person_reads() -> None:
    error = refuse(POINTS, [["a", "b"]] * 500)
    assert len(error.detail) == MAX_PROBLEMS
    assert "more than" in error.message


def test_as_many_unknown_fields_as_fit_in_a_body_give_a_short_answer() -> None:
    error = refuse(POINTS, [{f"field{number}" * 50: 1 for number in range(1000)}])
    assert len(error.detail) == MAX_PROBLEMS
    assert all(len(problem.field or "") <= 100 for problem in error.detail)


def test_more_rows_than_the_limit_are_refused() -> None:
    assert len(POINTS.parse(orjson.dumps([[1, 2]] * MAX_ROWS)).rows) == MAX_ROWS
    assert refuse(POINTS, [[1, 2]] * (MAX_ROWS + 1)).status == 422
