"""Requests as rows of blocks, without the columns that must not be logged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import orjson
import pytest

from ml_code.model_file.onnx_model import Prediction
from ml_code.model_file.spec import Value
from ml_code.monitoring.prediction_log.blocks import Row, read_block, render_block
from serving.answering import logged as logged_module
from serving.answering.entries import Logged, Part, cut_blocks
from serving.answering.logged import RowMaker
from serving.answering.served import ServedModel
from tests.unit.serving.log_fakes import make_logged, make_served
from tests.unit.serving.onnx_files import describe_training, make_classifier, make_mixed_regressor

ROW = (5.1, 3.5, 1.4, 0.2)
TRACE = "0af7651916cd43dd8448eb211c80319c"
HEADER = f"00-{TRACE}-b7ad6b7169203331-00".encode()


@pytest.fixture(scope="module")
def served() -> ServedModel:
    return make_served()


def make_maker(hidden: frozenset[str] | None = frozenset()) -> RowMaker:
    return RowMaker(sampling=1.0, unit_key=None, read_hidden=lambda _: hidden)


def make_ships(rows: Sequence[Sequence[Value]], content: bytes | None = None) -> Logged:
    served = make_served(content=content or make_mixed_regressor())
    return make_logged(served, rows)._replace(prediction=Prediction([1.0] * len(rows), None))


def read_rows(part: Part) -> list[Row]:
    """The rows of a part as a collection reads them."""
    return read_block(render_block(*make_maker().make(part))).rows


def test_a_hidden_column_is_in_no_block_whether_file_or_catalog_hides_it() -> None:
    content = describe_training(make_classifier(), sepal_width={"log": False})
    logged = make_logged(make_served(content=content))
    for hidden, names in (
        (frozenset[str](), ["sepal_length", "petal_length", "petal_width"]),
        (frozenset({"petal_length", "sepal_width", "unknown"}), ["sepal_length", "petal_width"]),
        (None, []),
    ):
        head, rows = make_maker(hidden).make(Part([logged]))
        cells = dict(zip(("sepal_length", "sepal_width", "petal_length", "petal_width"), ROW, strict=True))
        assert head.features == names
        assert rows[0][6] == [cells[name] for name in names]
        assert len(head.kinds) == len(names)


def test_a_hidden_column_changes_the_schema(served: ServedModel) -> None:
    part = Part([make_logged(served)])
    assert make_maker().make(part)[0].schema != make_maker(frozenset({"sepal_width"})).make(part)[0].schema


def test_a_category_is_logged_as_the_model_read_it() -> None:
    content = describe_training(make_mixed_regressor(), port={"categories": ["busan", "3", "1", "0"]})
    rows: list[list[Value]] = [[1, " busan "], [1, 3], [1, True], [1, "true"], [None, ""], [1, None]]
    [found] = make_maker().make(Part([make_ships(rows, content)], 0, 6))[1]
    assert found.features == [
        *([1, "busan"], [1, "3"], [1, "1"], [1, "1"], [None, None], [1, None]),
    ]


def test_a_score_is_the_probability_of_the_answered_class(served: ServedModel) -> None:
    shares = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], dtype=np.float32)
    logged = make_logged(served, [ROW, ROW])._replace(prediction=Prediction([1, 2], shares, [0, 1, 2]))
    placed = logged._replace(prediction=Prediction([1, 2], shares, [0, 1, 2], np.array([1, 2])))
    for found in make_maker().make(Part([logged, placed], 0, 2))[1]:
        assert found.scores is not None
        assert list(found.scores) == pytest.approx([0.3, 0.7])
    _, rows = make_maker().make(Part([make_ships([[1, "busan"]])]))
    assert rows[0][8] is None


def test_an_answer_that_is_no_number_is_logged_as_missing(served: ServedModel) -> None:
    shares = np.full((1, 3), np.nan, dtype=np.float32)
    logged = make_logged(served)._replace(prediction=Prediction([0], shares, [0, 1, 2]))
    [row] = read_block(render_block(*make_maker().make(Part([logged])))).rows
    assert (row.features, row.prediction, row.score) == (list(ROW), 0, None)


@pytest.mark.parametrize(
    ("client_id", "stored"),
    [(b"order-1", "order-1"), ("주문".encode(), "주문"), (b"\xe9", "é"), (b"", None), (b"x" * 129, None)],
    ids=["text", "korean", "latin", "empty", "long"],
)
def test_the_clients_own_id_is_stored_whole_or_not_at_all(
    served: ServedModel, client_id: bytes, stored: str | None
) -> None:
    _, rows = make_maker().make(Part([make_logged(served, client_id=client_id)]))
    assert rows[0][3] == stored


def test_wide_requests_share_no_large_block(served: ServedModel) -> None:
    parts = list(cut_blocks([make_logged(served, size_bytes=800_000) for _ in range(9)]))
    assert max(len(part.requests) for part in parts) <= 2
    assert sum(part.rows for part in parts) == 9
    assert sum(part.done_bytes for part in parts) == 7_200_000


def test_a_large_request_is_done_with_its_last_row(served: ServedModel) -> None:
    parts = list(cut_blocks([make_logged(served, [ROW] * 1001, size_bytes=7_000_000)]))
    assert [part.rows for part in parts] == [286, 286, 286, 143]
    assert [part.done_bytes for part in parts] == [0, 0, 0, 7_000_000]
    [part] = cut_blocks([make_logged(served, [ROW] * 2, size_bytes=0)])
    assert (part.rows, part.done_bytes) == (2, 0)


@pytest.mark.parametrize("rows", [[], [ROW], [ROW, ROW], [ROW] * 101], ids=["refused", "one", "two", "many"])
def test_every_row_of_a_request_has_its_trace(served: ServedModel, rows: list[tuple[float, ...]]) -> None:
    logged = [make_logged(served, rows, traceparent=header) for header in (HEADER, b"no trace", None)]
    found = [row for part in cut_blocks(logged) for row in read_rows(part)]
    traces = {request.request_id: trace for request, trace in zip(logged, (TRACE, None, None), strict=True)}
    assert [row[9] for row in found] == [traces[row[0]] for row in found]
    assert len(found) == 3 * max(len(rows), 1)


def test_a_column_that_is_hidden_leaves_with_the_next_block(served: ServedModel) -> None:
    hidden: set[str] = set()
    maker = RowMaker(sampling=1.0, unit_key=None, read_hidden=lambda _: frozenset(hidden))
    part = Part([make_logged(served)])
    assert len(maker.make(part)[1][0][6]) == 4
    hidden.add("sepal_width")
    head, [row] = maker.make(part)
    assert ("sepal_width" in head.features, len(row[6])) == (False, 3)
    hidden.clear()
    assert len(maker.make(part)[1][0][6]) == 4


def test_the_maker_forgets_versions_of_long_ago(monkeypatch: pytest.MonkeyPatch, served: ServedModel) -> None:
    monkeypatch.setattr(logged_module, "KNOWN_HEADS", 3)
    maker = make_maker()
    versions = [replace(served, identity=replace(served.identity, version=str(number))) for number in range(7)]
    for version in [*versions, served]:
        assert maker.make(Part([make_logged(version)]))[0].version == version.identity.version
    assert len(maker._plans) <= 3


@pytest.mark.parametrize("size_bytes", [3_000_000 * 101, 1], ids=["one row a block", "one block"])
def test_a_wide_request_is_cut_row_by_row(served: ServedModel, size_bytes: int) -> None:
    logged = make_logged(served, [(float(number), 1.0, 1.0, 1.0) for number in range(101)], size_bytes=size_bytes)
    rows = [row for part in cut_blocks([logged]) for row in read_rows(part)]
    assert [(row[1], row[6][0]) for row in rows] == [(number, float(number)) for number in range(101)]


@pytest.mark.parametrize("count", [2, 100, 1_001])
@pytest.mark.parametrize("hidden", [frozenset[str](), frozenset({"sepal_width"})], ids=["whole", "hidden"])
def test_json_rows_are_logged_without_their_hidden_columns(
    served: ServedModel, hidden: frozenset[str], count: int
) -> None:
    sent = [[number + 0.1, 1, 2e-3, None] for number in range(count)]
    rows = np.array(sent, np.float64)
    logged = make_logged(served, [ROW] * count)._replace(rows=rows, text=orjson.dumps(sent))
    parts = list(cut_blocks([logged, logged]))
    found = [row for part in parts for row in read_block(render_block(*make_maker(hidden).make(part))).rows]
    assert [row[1] for row in found] == [*range(count)] * 2
    kept = [0, 2, 3] if hidden else [0, 1, 2, 3]
    assert [row[6] for row in found] == [[row[place] for place in kept] for row in sent] * 2


def test_requests_that_come_by_turns_keep_their_kinds_apart(served: ServedModel) -> None:
    other = make_served("challenger")
    kinds = [(served, 1), (other, 1), (served, 2), (served, 0)] * 3
    parts = list(cut_blocks([make_logged(version, [ROW] * count) for version, count in kinds]))
    assert [(part.requests[0][0].variant, part.rows, part.is_refused) for part in parts] == [
        *(("champion", 3, False), ("challenger", 3, False), ("champion", 6, False), ("champion", 3, True)),
    ]
