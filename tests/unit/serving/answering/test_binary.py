"""Binary tensors: what their bytes mean is what the same cells mean as JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_code.model_file.onnx_model import OnnxModel
from serving.answering.inference import Inference
from serving.answering.rows import RowParser
from serving.answering.tensors import DATATYPES, list_values, pack, read_binary
from serving.answering.wire import JsonWire
from serving.errors import RequestError
from tests.unit.serving.onnx_files import IRIS, describe_training, make_classifier, make_mixed_regressor

RANGE = {"minimum": 0.1, "maximum": 7.7, "has_missing": True}
SPECS = {
    "open": OnnxModel(make_classifier()).spec,
    "ranges": OnnxModel(describe_training(make_classifier(), **dict.fromkeys(IRIS, RANGE))).spec,
    "low": OnnxModel(
        describe_training(make_classifier(), **{name: {"minimum": 0, "maximum": 0.1} for name in IRIS})
    ).spec,
    "required": OnnxModel(describe_training(make_classifier(), **{name: {"is_required": True} for name in IRIS})).spec,
    "ships": OnnxModel(make_mixed_regressor()).spec,
}
INFERENCES = {name: Inference(spec, RowParser(spec)) for name, spec in SPECS.items()}

CELLS = st.one_of(
    st.floats(width=32, allow_nan=True, allow_infinity=False),
    st.sampled_from([0.1, 7.7, 0.0, float("nan"), -0.0, 3.4028234663852886e38]),
)


def parse_binary(name: str, tensors: list[tuple[str, list[int], str, bytes]], tail: bytes = b"") -> Any:
    inputs = [
        {"name": one, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": len(content)}}
        for one, shape, datatype, content in tensors
    ]
    head = json.dumps({"inputs": inputs}).encode()
    body = b"".join((head, *(content for *_, content in tensors), tail))
    return INFERENCES[name].parse(body, JsonWire(len(head)))


def parse_json(name: str, rows: list[list[Any]]) -> Any:
    tensor = {"name": "rows", "shape": [len(rows), 4], "datatype": "FP64", "data": rows}
    return INFERENCES[name].parse(json.dumps({"inputs": [tensor]}).encode())


def outcome(parse: Any) -> tuple[Any, ...]:
    """What became of a request: its cells, warnings and counts, or its error with every problem."""
    try:
        read = parse().read
    except RequestError as error:
        return error.status, error.message, error.detail
    rows = list_values(read.rows) if isinstance(read.rows, np.ndarray) else read.rows
    return [list(row) for row in rows], tuple(read.warnings), dict(read.counts)


@pytest.mark.parametrize("name", ["open", "ranges", "required"])
@settings(deadline=None)
@given(rows=st.lists(st.lists(CELLS, min_size=4, max_size=4), min_size=1, max_size=5))
def test_numbers_are_read_as_from_json(name: str, rows: list[list[float]]) -> None:
    for datatype, dtype in (("FP32", np.float32), ("FP64", np.float64)):
        cells = np.array(rows, dtype)
        listed = list_values(cells)
        found = outcome(lambda: parse_binary(name, [("rows", [len(rows), 4], datatype, cells.tobytes())]))  # noqa: B023
        assert found == outcome(lambda: parse_json(name, listed))  # noqa: B023


def test_a_float32_of_a_limit_is_within_it() -> None:
    content = np.array([[0.1, 7.7, 0.1, 7.7]], np.float32).tobytes()
    assert parse_binary("ranges", [("rows", [1, 4], "FP32", content)]).read.warnings == ()


@pytest.mark.parametrize("other", ["INT32", "INT64", "FP64"])
def test_a_float32_of_a_limit_is_within_it_beside_other_types(other: str) -> None:
    types = ("FP32", other, other, other)
    tensors = [
        (name, [1], datatype, pack(datatype, [0.1 if datatype == "FP32" else 0]))
        for name, datatype in zip(IRIS, types, strict=True)
    ]
    read = parse_binary("low", tensors).read
    assert read.warnings == ()
    assert read.rows == [[0.1, 0, 0, 0]]


def test_infinity_is_refused_by_row_and_field() -> None:
    for datatype in ("FP16", "FP32", "FP64"):
        content = pack(datatype, [1, 2, float("inf"), 4])
        with pytest.raises(RequestError, match="problem") as caught:
            parse_binary("open", [("rows", [1, 4], datatype, content)])
        assert caught.value.detail[0].field == "petal_length"
        assert "found inf, expected a number that float32 holds" in caught.value.detail[0].problem


def test_the_rows_of_a_binary_tensor_do_not_keep_the_body_in_memory() -> None:
    body = b"a long head" + pack("FP32", [5.1, 3.5, 1.4, 0.2])
    cells = read_binary("rows", "FP32", 4, memoryview(body)[11:])
    assert isinstance(cells, np.ndarray)
    assert cells.base is None
    assert cells.flags.aligned


def test_each_feature_may_be_a_tensor_of_its_own_type() -> None:
    types = ("FP32", "INT64", "UINT8", "FP64")
    tensors = [(name, [2, 1], datatype, pack(datatype, [1, 2])) for name, datatype in zip(IRIS, types, strict=True)]
    assert parse_binary("open", tensors).read.rows.tolist() == [[1, 1, 1, 1], [2, 2, 2, 2]]


def test_texts_and_missing_numbers_stand_side_by_side() -> None:
    size = ("size", [3], "FP32", pack("FP32", [0.1, float("nan"), 3]))
    port = ("port", [3, 1], "BYTES", pack("BYTES", ["busan", "", "\ud55c"]))
    assert parse_binary("ships", [size, port]).read.rows == [[0.1, "busan"], [None, ""], [3, "\ud55c"]]


@pytest.mark.parametrize("datatype", DATATYPES)
def test_packed_cells_are_read_again(datatype: str) -> None:
    cells = ["a", ""] if datatype == "BYTES" else [True, False] if datatype == "BOOL" else [1, 0]
    found = read_binary("x", datatype, 2, memoryview(pack(datatype, cells)))
    assert list(found) == cells


@pytest.mark.parametrize(
    ("tensor", "tail", "found"),
    [
        (("rows", [1, 4], "FP32", b"\0" * 15), b"", "found 15 bytes, expected 16: 4 cells of FP32"),
        (("rows", [1, 4], "FP32", b"\0" * 16), b"x", "found 1 bytes behind the tensors"),
        (("rows", [1, 4], "BOOL", b"\0\1\2\0"), b"", "found the byte 2, expected BOOL: 0 or 1"),
        (("rows", [1, 4], "BF16", b"\0" * 8), b"", "another datatype"),
        (("rows", [1, 1], "BYTES", b"\4\0\0\0abc"), b"", "end in text 0"),
        (("rows", [1, 1], "BYTES", b"\4\0"), b"", "end in text 0"),
        (("rows", [1, 1], "BYTES", b"\1\0\0\0\xff"), b"", "value 0: found bytes that are not UTF-8"),
        (("rows", [2, 1], "BYTES", b"\1\0\0\0a"), b"", "found 1 values, expected 2"),
        (("rows", [1, 4], "BOOL", b"\0\1\1\0"), b"", "4 problem"),
    ],
)
def test_bytes_that_are_not_the_tensor_are_refused(
    tensor: tuple[str, list[int], str, bytes], tail: bytes, found: str
) -> None:
    with pytest.raises(RequestError, match=found):
        parse_binary("open", [tensor], tail)


@pytest.mark.parametrize(
    ("entry", "json_bytes", "found"),
    [
        ({"parameters": {"binary_data_size": 16}}, None, "no header Inference-Header-Content-Length"),
        ({"parameters": {"binary_data_size": -1}}, 0, "found -1, expected 0 to 16"),
        ({"parameters": {"binary_data_size": 17}}, 0, "found 17, expected 0 to 16"),
        ({"parameters": {"binary_data_size": "16"}}, 0, "found another type"),
        ({"parameters": {"binary_data_size": 16}, "data": [1, 2, 3, 4]}, 0, "data beside it"),
        ({"data": [1, 2, 3, 4]}, 0, "found 16 bytes behind the tensors"),
        ({"parameters": {"binary_data_size": 16}}, 10_000, "found 10000 bytes of JSON in a body of"),
    ],
)
def test_a_size_that_does_not_fit_is_refused(entry: dict[str, Any], json_bytes: int | None, found: str) -> None:
    head = json.dumps({"inputs": [{"name": "rows", "shape": [1, 4], "datatype": "FP32", **entry}]}).encode()
    wire = JsonWire() if json_bytes is None else JsonWire(json_bytes or len(head))
    body = head if json_bytes is None else head + bytes(16)
    with pytest.raises(RequestError, match=found):
        INFERENCES["open"].parse(body, wire)
