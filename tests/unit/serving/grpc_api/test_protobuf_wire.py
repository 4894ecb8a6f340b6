"""A request over gRPC means what the same request over REST means."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ml_code.model_file.onnx_model import OnnxModel
from serving.answering.inference import Inference
from serving.answering.rows import RowParser
from serving.answering.tensors import list_values, pack
from serving.answering.wire import OutputTensor, TensorResponse
from serving.errors import RequestError
from serving.grpc_api.messages import ModelInferRequest, ModelInferResponse
from serving.grpc_api.protobuf_wire import CONTENTS, PROTOBUF_WIRE, ProtobufWire, decode
from tests.unit.serving.onnx_files import make_classifier, make_mixed_regressor

SPECS = {"iris": OnnxModel(make_classifier()).spec, "ships": OnnxModel(make_mixed_regressor()).spec}
INFERENCES = {name: Inference(spec, RowParser(spec)) for name, spec in SPECS.items()}
ROW = [6.0, 2.0, 4.0, 1.0]


def tensor(name: str, shape: list[int], datatype: str, cells: list[Any] | None = None) -> dict[str, Any]:
    contents = {} if cells is None else {"contents": {CONTENTS[datatype]: cells}}
    return {"name": name, "shape": shape, "datatype": datatype, **contents}


def parse(model: str, *inputs: dict[str, Any], **more: Any) -> Any:
    message = ModelInferRequest(model_name=model, inputs=list(inputs), **more)
    return INFERENCES[model].parse(message.SerializeToString(), PROTOBUF_WIRE)


def list_rows(request: Any) -> list[list[Any]]:
    rows = request.read.rows
    return list_values(rows) if isinstance(rows, np.ndarray) else [list(row) for row in rows]


@pytest.mark.parametrize("datatype", [name for name in CONTENTS if name not in {"BOOL", "BYTES"}])
def test_numbers_of_every_type_are_the_same_rows(datatype: str) -> None:
    cells = ROW if datatype.startswith("FP") else [int(cell) for cell in ROW]
    assert list_rows(parse("iris", tensor("rows", [1, 4], datatype, cells))) == [ROW]
    raw = parse("iris", tensor("rows", [1, 4], datatype), raw_input_contents=[pack(datatype, cells)])
    assert list_rows(raw) == [ROW]


def test_texts_stand_beside_numbers_with_nan_as_missing() -> None:
    size = tensor("size", [2], "FP32", [0.1, float("nan")])
    port = tensor("port", [2, 1], "BYTES", [b"busan", "한".encode()])
    assert list_rows(parse("ships", size, port)) == [[0.1, "busan"], [None, "한"]]


def test_outputs_come_as_the_inputs_did() -> None:
    inputs = tensor("rows", [1, 4], "FP32", ROW)
    assert [output.is_binary for output in parse("iris", inputs).outputs] == [False, False]
    wanted = [{"name": "predictions"}]
    raw = {"raw_input_contents": [pack("FP32", ROW)], "outputs": wanted, "id": "mine"}
    found = parse("iris", tensor("rows", [1, 4], "FP32"), **raw)
    assert (found.id, [(output.name, output.is_binary) for output in found.outputs]) == (
        "mine",
        [("predictions", True)],
    )


@pytest.mark.parametrize("is_binary", [True, False])
def test_a_response_has_its_values_and_parameters(is_binary: bool) -> None:
    outputs = [
        OutputTensor("predictions", "BYTES", [2], ["a", "한"], is_binary),
        OutputTensor("probabilities", "FP32", [2, 1], np.array([0.25, 1], np.float32), is_binary, {"classes": "[1]"}),
    ]
    content, json_bytes = ProtobufWire.write(TensorResponse("iris", "7", "made", outputs, {"warnings": "[]"}))
    message = ModelInferResponse.FromString(content)
    assert (message.model_name, message.model_version, message.id, json_bytes) == ("iris", "7", "made", 0)
    assert [(entry.key, entry.value.string_param) for entry in message.parameters] == [("warnings", "[]")]
    assert message.outputs[1].parameters[0].value.string_param == "[1]"
    if is_binary:
        assert list(message.raw_output_contents) == [pack("BYTES", ["a", "한"]), pack("FP32", [0.25, 1])]
    else:
        assert list(message.outputs[0].contents.bytes_contents) == [b"a", "한".encode()]
        assert list(message.outputs[1].contents.fp32_contents) == [0.25, 1]


@pytest.mark.parametrize(
    ("inputs", "more", "found"),
    [
        ([], {}, "inputs: found none"),
        ([tensor("rows", [1, 4], "FP32", [1, 2, 3])], {}, "found 3 values, expected 4"),
        ([tensor("rows", [1, 4], "INT64", [1, 2, 3])], {}, "found 3 values, expected 4"),
        ([tensor("rows", [1, 4], "INT8", [1, 2, 3, 500])], {}, "found 500, expected INT8"),
        ([tensor("rows", [1, 3], "FP32", [1, 2, 3])], {}, r"shape \[1, 3\], expected \[rows, 4\]"),
        ([tensor("rows", [-1, 4], "FP32", [])], {}, "no shape"),
        ([tensor("rows", [1, 4], "FP16")], {}, "FP16 without raw_input_contents"),
        ([tensor("rows", [1, 4], "BF16")], {}, "another datatype"),
        ([tensor("rows", [1, 1], "BYTES", [b"\xff"])], {}, "not UTF-8"),
        ([tensor("rows", [1, 4], "FP32")], {"raw_input_contents": [b"", b""]}, "found 2 for 1 inputs"),
        ([tensor("rows", [1, 4], "FP32")], {"raw_input_contents": [b"abc"]}, "found 3 bytes, expected 16"),
        ([tensor("rows", [1, 4], "FP32", ROW)], {"raw_input_contents": [b"abc"]}, "contents beside raw_input_contents"),
        ([tensor("rows", [1, 4], "FP32", ROW)], {"outputs": [{"name": "label"}]}, "outputs: found label"),
        ([tensor("rows", [1, 4], "FP32", ROW)], {"id": "i" * 201}, "id: found 201 characters"),
        ([tensor("rows", [1, 4], "FP64", [1e39, 2, 3, 4])], {}, "1 problem"),
    ],
)
def test_an_invalid_request_is_refused_with_the_expected_form(
    inputs: list[dict[str, Any]], more: dict[str, Any], found: str
) -> None:
    with pytest.raises(RequestError, match=found):
        parse("iris", *inputs, **more)


def test_bytes_without_a_message_are_refused() -> None:
    with pytest.raises(RequestError, match="expected a request"):
        decode(ModelInferRequest, b"\xff\xff")
