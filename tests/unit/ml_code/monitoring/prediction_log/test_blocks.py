"""Blocks of the prediction log, and the ids of requests."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace

import numpy as np
import orjson
import pytest

from ml_code.monitoring.prediction_log.blocks import (
    Block,
    Head,
    RequestRows,
    Row,
    make_request_id,
    make_schema,
    read_block,
    read_time,
    render_block,
)

HEAD = Head("titanic", "3", "champion", "live", "classification", ["age", "sex"], ["numeric", "categorical"], 0.5)
ROWS = [
    Row("0" * 12 + "7" + "0" * 3 + "8" + "0" * 15, 0, 0, "order-1", "ab" * 16, 0.4, [30, "male"], 1, 0.75, "ab" * 16),
    Row("0" * 12 + "7" + "0" * 3 + "8" + "0" * 15, 1, 0, None, None, 0.4, [None, None], "no", None),
]


def test_a_block_is_one_line_that_is_read_as_it_was() -> None:
    line = render_block(HEAD, ROWS, dropped=7)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert read_block(line) == Block(HEAD, 7, [row._replace(features=list(row.features or ())) for row in ROWS])


def test_a_block_names_its_model_version_and_features_itself() -> None:
    found = orjson.loads(render_block(HEAD, ROWS))
    del found["rows"]
    assert found == {
        "format": 2,
        "model": "titanic",
        "version": "3",
        "variant": "champion",
        "traffic": "live",
        "task": "classification",
        "features": ["age", "sex"],
        "kinds": ["numeric", "categorical"],
        "sampling": 0.5,
        "schema": make_schema("classification", [("age", "numeric"), ("sex", "categorical")]),
        "dropped": 0,
    }


def test_rows_of_one_request_name_once_what_they_have_in_common_and_are_read_as_rows() -> None:
    known = (ROWS[0].request_id, 4, 0, "order-1", None, 0.4, "ab" * 16)
    scored = RequestRows(*known, [[30, "male"], [None, None]], [1, 0], np.array([0.75, np.nan], np.float32))
    plain = RequestRows(*known, [[2, "female"]], [1], None)
    line = render_block(HEAD, [scored, plain], dropped=7)
    assert line.count(b"order-1") == 2
    rows = [(4, [30, "male"], 1, 0.75), (5, [None, None], 0, None), (4, [2, "female"], 1, None)]
    assert read_block(line) == Block(
        HEAD,
        7,
        [
            Row(ROWS[0].request_id, row, 0, "order-1", None, 0.4, features, prediction, score, "ab" * 16)
            for row, features, prediction, score in rows
        ],
    )


@pytest.mark.parametrize(
    ("features", "predictions", "scores"),
    [([[1, "a"]], [], None), ([], [1], None), ([[1, "a"]], [1], []), ([[1, "a"]], [1], [0.5, 0.5]), (None, [1], None)],
)
def test_a_request_with_another_number_of_predictions_or_scores_is_refused(
    features: object, predictions: object, scores: object
) -> None:
    known = (ROWS[0].request_id, 0, 0, None, None, 0.4, None)
    request = RequestRows(*known, features, predictions, scores)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="block of the prediction log"):
        read_block(render_block(HEAD, [request]))


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b"1", b'{"format":1', b'{"format":3}', b"\xff"])
def test_a_line_of_another_form_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"block of the prediction log: found .* expected a line of format 2"):
        read_block(line)


def test_a_block_from_before_traces_were_logged_is_read() -> None:
    rows = [list(row)[:-1] for row in ROWS]
    line = render_block(HEAD, rows).replace(b'"format":2', b'"format":1')
    assert [row.trace_id for row in read_block(line).rows] == [None, None]


def test_a_block_whose_features_do_not_fit_its_schema_is_refused() -> None:
    with pytest.raises(ValueError, match="its schema is"):
        read_block(render_block(HEAD, ROWS).replace(b'"age"', b'"fare"'))


def test_a_schema_follows_from_task_names_kinds_and_their_order() -> None:
    columns = [("age", "numeric"), ("sex", "categorical")]
    schemas = {
        make_schema("classification", columns),
        make_schema("regression", columns),
        make_schema("classification", columns[::-1]),
        make_schema("classification", [("age", "categorical"), ("sex", "categorical")]),
        make_schema("classification", [("ages", "numeric"), ("sex", "categorical")]),
    }
    assert len(schemas) == 5
    assert make_schema("classification", [("sepal_length", "numeric")]) == "14f875ec"


def test_a_request_id_is_a_uuid_of_version_7_with_its_time() -> None:
    before = time.time_ns() // 1_000_000
    ids = [make_request_id() for _ in range(1000)]
    after = time.time_ns() // 1_000_000
    assert len(set(ids)) == 1000
    assert all(before <= read_time(one) <= after for one in ids)
    assert {(uuid.UUID(one).version, uuid.UUID(one).variant) for one in ids} == {(7, uuid.RFC_4122)}


@pytest.mark.parametrize("text", ["", "x" * 32, uuid.UUID(int=0).hex, "5f" * 16, "٣" * 32], ids=ascii)
def test_another_text_is_no_request_id(text: str) -> None:
    with pytest.raises(ValueError, match="expected 32 hex digits"):
        read_time(text)


@pytest.mark.parametrize(
    "model", ["", "../iris", "a/b", "iris\n", "iris\x00", "model=x", "1", "x" * 201, 7, None], ids=ascii
)
def test_a_model_whose_name_would_be_another_place_in_the_store_is_refused(model: object) -> None:
    with pytest.raises(ValueError, match="its model is"):
        read_block(render_block(replace(HEAD, model=model), ROWS))  # type: ignore[arg-type]


@pytest.mark.parametrize("dropped", [-1, 10**12 + 1, 2**64 - 1, 1.5, "3", True, None], ids=repr)
def test_a_number_of_dropped_rows_that_no_database_counts_is_refused(dropped: object) -> None:
    with pytest.raises(ValueError, match="its dropped rows are"):
        read_block(render_block(HEAD, ROWS, dropped))  # type: ignore[arg-type]


def test_features_of_one_name_are_refused() -> None:
    twice = replace(HEAD, features=["age", "age"])
    with pytest.raises(ValueError, match="two features have one name"):
        read_block(render_block(twice, ROWS))
