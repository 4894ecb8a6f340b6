"""Rows of numbers are checked as one array; what becomes of them is what becomes of each cell read alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_code.model_file.onnx_model import OnnxModel
from ml_code.model_file.spec import ModelSpec
from serving.answering.findings import Findings, ReadRows
from serving.answering.rows import RowParser
from serving.answering.tensors import list_values
from serving.errors import RequestError
from tests.unit.serving.onnx_files import GOLDEN, IRIS, describe_training, make_classifier, make_mixed_regressor

TRAININGS: dict[str, dict[str, Any]] = {
    "open": {},
    "ranges": {"minimum": 0.1, "maximum": 7.7, "has_missing": False},
    "whole": {"minimum": 0, "maximum": 2**53, "has_missing": True},
    "flags": {"is_flag": True, "is_required": True},
}
SPECS = {
    name: OnnxModel(describe_training(make_classifier(), **dict.fromkeys(IRIS, training))).spec
    for name, training in TRAININGS.items()
}
PARSERS = {name: RowParser(spec) for name, spec in SPECS.items()}

CELLS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**63), 2**64 - 1),
    st.sampled_from([None, True, False, "5.1", 0.1, 7.7, 2**53, 2**53 + 1, 3.4e38, 3.5e38, -0.0, [], {}]),
)
PLAIN = st.floats(0.1, 7.7)
FOUR = st.lists(st.one_of(PLAIN, PLAIN, PLAIN, CELLS), min_size=4, max_size=4)
FURTHER = st.sampled_from([{}, {}, {"unknown": 1.0}])
OBJECTS = st.tuples(FOUR, FURTHER).map(lambda made: dict(zip(reversed(IRIS), made[0], strict=True)) | made[1])
ROWS = st.one_of(
    st.lists(PLAIN, min_size=4, max_size=4),
    FOUR,
    OBJECTS,
    st.dictionaries(st.sampled_from([*IRIS, "unknown"]), PLAIN, max_size=4),
    st.lists(st.one_of(PLAIN, st.booleans()), min_size=4, max_size=4),
    st.lists(CELLS, max_size=6),
    CELLS,
)


def check_each_cell(spec: ModelSpec, rows: list[Any]) -> tuple[Any, ...]:
    """The outcome by the reader of each cell alone."""
    parser, findings = RowParser(spec), Findings()
    try:
        read = findings.finish([parser._read_row(number, row, findings) for number, row in enumerate(rows)])
    except RequestError as error:
        return error.message, error.detail
    return read.rows, list(read.warnings), dict(read.counts)


def summarize(read_rows: Callable[[], ReadRows]) -> tuple[Any, ...]:
    """The outcome, with the rows of an array as lists."""
    try:
        read = read_rows()
    except RequestError as error:
        return error.message, error.detail
    rows = list_values(read.rows) if isinstance(read.rows, np.ndarray) else read.rows
    return rows, list(read.warnings), dict(read.counts)


@pytest.mark.parametrize("name", TRAININGS)
@settings(deadline=None, max_examples=200)
@given(rows=st.one_of(st.lists(ROWS, min_size=2, max_size=4), st.lists(OBJECTS, min_size=2, max_size=4)))
def test_the_outcome_is_that_of_each_cell(name: str, rows: list[Any]) -> None:
    body = orjson.dumps(rows)
    expected = check_each_cell(SPECS[name], orjson.loads(body))
    assert summarize(lambda: PARSERS[name].parse(body)) == expected
    assert summarize(lambda: PARSERS[name].check(orjson.loads(body))) == expected


TEXTS = st.one_of(st.sampled_from(["busan", " busan", "3", "True", "", None, True, 3, 3.0, "jeju"]), CELLS)
SHIPS = st.tuples(st.one_of(PLAIN, CELLS), TEXTS)
PORTS = OnnxModel(describe_training(make_mixed_regressor(), port={"categories": ["busan", "3", "True"]})).spec


@settings(deadline=None, max_examples=100)
@given(
    rows=st.one_of(
        st.lists(SHIPS.map(list), min_size=2, max_size=4),
        st.lists(SHIPS.map(lambda cells: {"port": cells[1], "size": cells[0]}), min_size=2, max_size=4),
    )
)
def test_the_outcome_of_texts_is_that_of_each_cell(rows: list[Any]) -> None:
    body = orjson.dumps(rows)
    found, expected = summarize(lambda: RowParser(PORTS).parse(body)), check_each_cell(PORTS, orjson.loads(body))
    assert repr(found) == repr(expected)  # 1 and true are equal, and not the same category


@pytest.mark.parametrize("missing", [None, 1.4])
def test_the_model_is_fed_the_array(missing: float | None) -> None:
    rows = [[5.1, 3.5, missing, 1], *GOLDEN]
    read = PARSERS["open"].check(rows)
    model = OnnxModel(make_classifier())
    assert isinstance(read.rows, np.ndarray)
    found, expected = model.predict_rows(read.rows), model.predict_rows(rows)
    assert found.values == expected.values
    assert found.probabilities is not None
    assert (found.probabilities == expected.probabilities).all() or missing is None
