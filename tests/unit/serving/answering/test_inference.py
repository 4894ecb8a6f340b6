from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ml_code.model_file.onnx_model import OnnxModel, Prediction
from serving.answering.inference import Inference, InferenceRequest
from serving.answering.rows import RowParser
from serving.answering.wire import JSON_WIRE
from serving.errors import RequestError
from tests.unit.serving.onnx_files import IRIS, make_classifier, make_mixed_regressor

TAIL = {"model_name": "iris", "model_version": "7", "id": "made"}

FLOWERS = [[5.1, 3.5, 1.4, 0.2], [6.0, 2.9, 4.5, 1.5]]


def make_inference(content: bytes) -> Inference:
    spec = OnnxModel(content).spec
    return Inference(spec, RowParser(spec))


@pytest.fixture(scope="module")
def iris() -> Inference:
    return make_inference(make_classifier())


@pytest.fixture(scope="module")
def ships() -> Inference:
    return make_inference(make_mixed_regressor())


def tensor(name: str, shape: Sequence[int], data: list[Any], datatype: str = "FP32", **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": list(shape), "datatype": datatype, "data": data, **more}


def parse(inference: Inference, *inputs: Any, **more: Any) -> Any:
    return inference.parse(json.dumps({"inputs": list(inputs), **more}).encode())


def write(inference: Inference, request: InferenceRequest, prediction: Prediction, tail: dict[str, str]) -> Any:
    body, json_bytes = JSON_WIRE.write(inference.respond(request, prediction, tail))
    assert json_bytes == 0
    return json.loads(body)


@pytest.mark.parametrize("data", [[*FLOWERS[0], *FLOWERS[1]], FLOWERS], ids=["flat", "nested"])
def test_one_tensor_of_all_features_holds_rows(iris: Inference, data: list[Any]) -> None:
    assert parse(iris, tensor("rows", (2, 4), data)).read.rows.tolist() == FLOWERS


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_one_tensor_for_each_feature_in_any_order_holds_columns(iris: Inference, shape: tuple[int, ...]) -> None:
    columns = [tensor(name, shape, [row[i] for row in FLOWERS]) for i, name in enumerate(IRIS)]
    assert parse(iris, *reversed(columns)).read.rows.tolist() == FLOWERS


def test_categories_are_texts_or_whole_numbers_and_null_is_missing(ships: Inference) -> None:
    size = tensor("size", (3, 1), [[1], [2], [None]], "INT64")
    assert parse(ships, size, tensor("port", (3,), ["busan", None, ""], "BYTES")).read.rows == [
        [1, "busan"],
        [2, None],
        [None, ""],
    ]
    assert parse(ships, size, tensor("port", (3,), [3, 4, 5], "INT32")).read.rows[0] == [1, 3]


@pytest.mark.parametrize(
    ("request_object", "found"),
    [
        ([], "no object"),
        ({}, "inputs: found no list"),
        ({"inputs": []}, "inputs: found no list"),
        ({"inputs": [3]}, "without a name"),
        ({"inputs": [tensor("rows", (1, 3), [1, 2, 3])]}, r"shape \[1, 3\], expected \[rows, 4\]"),
        ({"inputs": [tensor("rows", (4,), [1, 2, 3, 4])]}, r"shape \[4\]"),
        ({"inputs": [tensor("rows", (1, 4), [1, 2, 3])]}, "found 3 values, expected 4"),
        ({"inputs": [tensor("rows", (1, 4), [1, 2, 3, True])]}, "expected FP32: numbers"),
        ({"inputs": [tensor("rows", (1, 4), [1, 2, 3, 4.5], "INT64")]}, "found 4.5, expected INT64"),
        ({"inputs": [tensor("rows", (1, 4), [1, 2, 3, 4], "BOOL")]}, "found 1, expected BOOL"),
        ({"inputs": [tensor("rows", (1, 4), [True] * 4, "BOOL")]}, "4 problem"),
        ({"inputs": [tensor("rows", (1, 4), [1, 2, 3, 4], "BF16")]}, "another datatype"),
        ({"inputs": [tensor("rows", (1, 4), [1, 2, 3, 4], ["FP32"])]}, "another datatype"),
        ({"inputs": [tensor("rows", (-1, 4), [])]}, "no shape"),
        ({"inputs": [tensor("rows", (1, 2, 2), [1, 2, 3, 4])]}, "no shape"),
        ({"inputs": [tensor("rows", (0, 4), [])]}, "empty"),
        ({"inputs": [tensor("rows", (10_001, 4), [0] * 40_004)]}, "at most 10000"),
        ({"inputs": [tensor("rows", (1, 4), None)]}, "binary_data_size"),
        ({"inputs": [tensor("rows", (1, 4), [[1, 2], 3, 4])]}, "found 3 values"),
        ({"inputs": [tensor("rows", (1, 4), [[1, 2, 3, [4]]])]}, "expected FP32: numbers"),
        ({"inputs": [tensor("rows", (1, 4), [[1, 2], [3, 4]])]}, r"found 2 lists, .* expected the shape \[1, 4\]"),
        ({"inputs": [tensor(name, (1,), [1]) for name in IRIS[:3]]}, "expected one of shape"),
        ({"inputs": [tensor(name, (1,), [1]) for name in (*IRIS[:3], IRIS[0])]}, "expected one of shape"),
        ({"inputs": [tensor(name, (1 + (name == IRIS[2]),), [1] * (1 + (name == IRIS[2]))) for name in IRIS]}, "shape"),
        ({"inputs": [tensor("rows", (1, 4), FLOWERS[0])], "outputs": [{"name": "label"}]}, "outputs: found"),
        ({"inputs": [tensor("rows", (1, 4), FLOWERS[0])], "outputs": []}, "outputs: found no list"),
        ({"inputs": [tensor("rows", (1, 4), FLOWERS[0])], "outputs": [{"name": "predictions"}] * 2}, "a name twice"),
        ({"inputs": [tensor("rows", (1, 4), FLOWERS[0])], "id": 3}, "id: found another type"),
        ({"inputs": [tensor("rows", (1, 4), FLOWERS[0])], "id": "i" * 201}, "id: found 201 characters"),
        ({"inputs": [tensor("rows", (1, 4), [1e39, 2, 3, 4], "FP64")]}, "1 problem"),
    ],
)
def test_an_invalid_request_is_refused_with_the_expected_form(iris: Inference, request_object: Any, found: str) -> None:
    with pytest.raises(RequestError, match=found):
        iris.parse(json.dumps(request_object).encode())


def test_a_model_with_categories_takes_no_single_tensor(ships: Inference) -> None:
    with pytest.raises(RequestError, match="expected one for each of"):
        parse(ships, tensor("rows", (1, 2), ["1", "busan"], "BYTES"))


def test_an_answer_has_every_output_or_those_that_were_asked_for(iris: Inference) -> None:
    prediction = Prediction([1, 0], np.array([[0.25, 0.75, 0], [1, 0, 0]], dtype=np.float32))
    tail = TAIL
    rows = tensor("rows", (2, 4), FLOWERS)
    whole = write(iris, parse(iris, rows), prediction, tail)
    assert whole == tail | {
        "outputs": [
            {"name": "predictions", "datatype": "INT64", "shape": [2], "data": [1, 0]},
            {
                "name": "probabilities",
                "datatype": "FP32",
                "shape": [2, 3],
                "data": [0.25, 0.75, 0, 1, 0, 0],
                "parameters": {"classes": "[0,1,2]"},
            },
        ]
    }
    asked = parse(iris, rows, id="mine", outputs=[{"name": "predictions"}])
    part = write(iris, asked, prediction, tail)
    assert (part["id"], [output["name"] for output in part["outputs"]]) == ("mine", ["predictions"])


def test_a_value_that_is_no_number_is_null(ships: Inference) -> None:
    request = parse(ships, tensor("size", (1,), [1]), tensor("port", (1,), ["busan"], "BYTES"))
    answer = write(ships, request, Prediction([float("nan")], None), TAIL)
    assert answer["outputs"] == [{"name": "predictions", "datatype": "FP64", "shape": [1], "data": [None]}]
