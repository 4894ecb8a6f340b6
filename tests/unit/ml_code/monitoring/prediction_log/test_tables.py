"""Blocks as tables: each cell as it was, whichever way it went, and a block that does not fit is set aside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from ml_code.monitoring.prediction_log.blocks import Head, render_block
from ml_code.monitoring.prediction_log.tables import Parts
from tests.log_rows import IRIS, make_rows

NAMES = ["hour", "date", "features", "request_id"]
"""Names that the table has itself."""


def read(head: Head, rows: Sequence[Sequence[Any]]) -> Parts:
    parts = Parts()
    parts.add_lines([render_block(head, rows).rstrip()])
    return parts


def read_features(cells: Sequence[Sequence[Any] | None], kinds: Sequence[str] = ("numeric",) * 4) -> list[Any]:
    head = Head("iris", "3", "champion", "live", "classification", NAMES[: len(kinds)], list(kinds))
    rows = [list(row) for row in make_rows([[]] * len(cells), [0] * len(cells))]
    for row, found in zip(rows, cells, strict=True):
        row[6] = found
    parts = read(head, rows)
    assert not parts.unreadable
    [(_, table)] = parts.list_tables()
    return [one and list(one.values()) for one in table["features"].to_pylist()]


@pytest.mark.parametrize(
    "cells",
    [
        [[5.1, 3.5, 1.4, 0.2], [6.0, 2.9, 4.5, 1.5]],
        [[5, 3, 1, 0], [2**53 + 1, -1, 0, 2**63]],
        [[5.1, None, 1, 0.2], [None, None, None, None]],
        [[5.1, 3.5, 1.4, 0.2], None],
        [None, None],
        [[1e308, -1e308, 5e-324, 0.1]],
    ],
    ids=["numbers", "whole", "missing", "one refused", "all refused", "edges"],
)
def test_numbers_are_stored_as_they_were(cells: list[list[float] | None]) -> None:
    expected = [row and [None if cell is None else float(cell) for cell in row] for row in cells]
    assert read_features(cells) == expected


def test_texts_stay_texts_beside_numbers_and_under_names_of_the_table() -> None:
    assert read_features([[1, "3"], [None, None]], ("numeric", "categorical")) == [[1.0, "3"], [None, None]]


@pytest.mark.parametrize(
    ("place", "cell"),
    [
        (0, "ab" * 15),
        (0, "a b " * 8),
        (0, "zz" * 16),
        (1, 2**40),
        (2, 10**30),
        (2, "noon"),
        (6, [1.0, 2.0]),
        (6, [1.0, 2.0, "3", 4.0]),
        (6, ["1", "2", "3", "4"]),
        (7, {}),
        (8, "sure"),
        (9, "ab" * 15),
        (9, "zz" * 16),
        (9, 7),
    ],
)
def test_a_block_with_a_cell_of_another_form_is_set_aside_whole(place: int, cell: Any) -> None:
    rows = [list(row) for row in make_rows([[5.1, 3.5, 1.4, 0.2]] * 2, [0, 0])]
    rows[1][place] = cell
    line = orjson.loads(render_block(IRIS, [])) | {"rows": rows, "task": "regression" if place == 7 else IRIS.task}
    if place == 7:
        line["schema"] = Head("iris", "3", "champion", "live", "regression", IRIS.features, IRIS.kinds).schema
    content = orjson.dumps(line) if cell != 10**30 else orjson.dumps(line | {"rows": []})
    parts = Parts()
    parts.add_lines([content.replace(b'"rows":[]', b'"rows":[[null,0,%d,null,null,1,null,0,null]]' % 10**30)])
    assert (len(parts.unreadable), len(parts.batches)) == (1, 0)


@pytest.mark.parametrize(
    "traces", [["0a" * 16, "0b" * 16], ["0a" * 16, None], [None, None]], ids=["all", "one", "none"]
)
def test_the_trace_of_each_request_is_stored(traces: list[str | None]) -> None:
    rows = make_rows([[5.1, 3.5, 1.4, 0.2]] * 2, [0, 0])
    found = read(IRIS, [row._replace(trace_id=trace) for row, trace in zip(rows, traces, strict=True)])
    [(_, table)] = found.list_tables()
    assert [one and one.hex() for one in table["trace_id"].to_pylist()] == traces


def test_a_block_from_before_traces_were_logged_has_none() -> None:
    [(_, table)] = read(IRIS, [list(row)[:-1] for row in make_rows([[5.1, 3.5, 1.4, 0.2]], [0])]).list_tables()
    assert table["trace_id"].to_pylist() == [None]
