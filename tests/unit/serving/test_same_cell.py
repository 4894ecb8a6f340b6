"""One raw row has one answer and the same warnings by /predict and by the Open Inference Protocol."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml_code.cells import name_category
from tests.unit.serving.app_client import JSON, Ask
from tests.unit.serving.onnx_files import describe_training, make_classifier, make_mixed_regressor

WORDS = ["busan", " busan", "서울", "\u1109\u1165\u110b\u116e\u11af", "true", "FALSE", "3", "3.0", "03", "", " "]
TEXTS = st.sampled_from(WORDS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
WHOLE = st.sampled_from([3, 0, -1]) | st.integers(1 - 2**53, 2**53 - 1)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32) | st.integers(-1000, 1000)

SIZES = [(NUMBERS, "FP64"), (st.integers(-(2**31), 2**31 - 1), "INT32"), (st.booleans(), "BOOL")]
PORTS = [(TEXTS, "BYTES"), (WHOLE, "INT64"), (WHOLE.map(float), "FP64"), (st.booleans(), "BOOL")]

FEATURES: list[dict[str, Any]] = [
    {},
    {"port": {"categories": ["busan", "3", "True", "False"], "has_missing": False}, "size": {"is_flag": True}},
    {"port": {"categories": ["0", "1", "서울"], "has_missing": True}, "size": {"minimum": 0, "maximum": 1}},
]


@pytest.fixture(params=range(len(FEATURES)))
def contents(request: pytest.FixtureRequest) -> dict[str, bytes]:
    ships = describe_training(make_mixed_regressor(), **FEATURES[request.param])
    return {"iris": make_classifier(), "ships": ships}


@st.composite
def columns(draw: st.DrawFn, choices: list[tuple[st.SearchStrategy[Any], str]], rows: int) -> tuple[list[Any], str]:
    cells, datatype = draw(st.sampled_from(choices))
    return draw(st.lists(cells | st.none(), min_size=rows, max_size=rows)), datatype


@st.composite
def tables(draw: st.DrawFn) -> tuple[tuple[list[Any], str], tuple[list[Any], str]]:
    rows = draw(st.integers(1, 4))
    return draw(columns(SIZES, rows)), draw(columns(PORTS, rows))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(table=tables())
def test_a_raw_row_is_answered_alike_by_both_protocols(ask: Ask, tmp_path: Path, table: Any) -> None:
    (sizes, _), (ports, _) = table
    rows = [list(row) for row in zip(sizes, ports, strict=True)]
    inputs = [
        {"name": name, "shape": [len(rows)], "datatype": datatype, "data": cells}
        for name, (cells, datatype) in zip(("size", "port"), table, strict=True)
    ]
    by_rows = ask("POST", "/models/ships/predict", content=json.dumps(rows), headers=JSON)
    by_name = ask(
        "POST",
        "/models/ships/predict",
        content=json.dumps([dict(zip(("port", "size"), row[::-1], strict=True)) for row in rows]),
        headers=JSON,
    )
    by_tensors = ask("POST", "/v2/models/ships/infer", content=json.dumps({"inputs": inputs}))
    if by_rows.status_code != 200:
        assert (by_rows.status_code, by_tensors.status_code) == (422, 400)
        assert by_name.json()["detail"] == by_rows.json()["detail"]
        return
    answer, tensors = by_rows.json(), by_tensors.json()
    assert by_name.json()["predictions"] == tensors["outputs"][0]["data"] == answer["predictions"]
    warnings = json.loads(tensors.get("parameters", {}).get("warnings", "[]"))
    assert by_name.json().get("warnings", []) == warnings == answer.get("warnings", [])


@given(table=tables())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_rows_have_the_answers_of_their_canonical_cells(ask: Ask, table: Any) -> None:
    (sizes, _), (ports, _) = table
    rows = [list(row) for row in zip(sizes, ports, strict=True)]
    raw = ask("POST", "/models/ships/predict", content=json.dumps(rows), headers=JSON)
    if raw.status_code != 200:
        return
    canonical = [[None if size is None else float(size), name_category(port)] for size, port in rows]
    answer = ask("POST", "/models/ships/predict", content=json.dumps(canonical), headers=JSON).json()
    assert answer["predictions"] == raw.json()["predictions"]
