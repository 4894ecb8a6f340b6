"""Requests and responses of the Open Inference Protocol as protobuf, beside the JSON of REST."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from ml_code.cells import clean_text
from serving.answering.tensors import DATATYPES, Cells, Tensor, check_form, make_tensor, pack, read_binary
from serving.answering.wire import Output, TensorRequest, TensorResponse, check_id
from serving.errors import RequestError
from serving.grpc_api.messages import ModelInferRequest, ModelInferResponse
from serving.quoting import shorten

CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The field of each datatype's cells; FP16 has none, and comes as bytes only."""


class ProtobufWire:
    """Protobuf. A megabyte of it may be 130 MB of objects, so it is decoded where its rows are computed.

    >>> ProtobufWire().read(body).tensors
    [Tensor(name='rows', shape=[1, 2], cells=array([1., 2.], dtype=float32))]
    """

    @staticmethod
    def read(body: bytes) -> TensorRequest:
        """Reads a request.

        Raises:
            RequestError: it is not a request of the protocol (400).
        """
        message = decode(ModelInferRequest, body)
        raw = list(message.raw_input_contents)
        if not message.inputs:
            raise RequestError(400, "inputs: found none, expected a tensor at least")
        if raw and len(raw) != len(message.inputs):
            found = f"found {len(raw)} for {len(message.inputs)} inputs"
            raise RequestError(400, f"raw_input_contents: {found}, expected one for each, or none")
        tensors = [_read_tensor(tensor, raw[place] if raw else None) for place, tensor in enumerate(message.inputs)]
        is_raw = bool(raw)
        outputs = [Output(output.name, is_raw) for output in message.outputs]
        return TensorRequest(check_id(message.id), tensors, outputs, is_raw)

    @staticmethod
    def write(response: TensorResponse) -> tuple[bytes, int]:
        """Writes a response: with raw contents if the request had them."""
        message = ModelInferResponse(
            model_name=response.model_name, model_version=response.model_version, id=response.id
        )
        _add_parameters(message, response.parameters)
        for tensor in response.outputs:
            output = message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
            _add_parameters(output, tensor.parameters)
            if tensor.is_binary:
                message.raw_output_contents.append(pack(tensor.datatype, tensor.data))
                continue
            cells: Any = tensor.data
            if tensor.datatype == "BYTES":
                cells = [text.encode() for text in cells]
            getattr(output.contents, CONTENTS[tensor.datatype]).extend(cells)
        return message.SerializeToString(), 0


PROTOBUF_WIRE = ProtobufWire()


def decode(kind: Any, content: bytes) -> Any:
    """A message of bytes.

    Raises:
        RequestError: they are none (400).
    """
    try:
        return kind.FromString(content)
    except DecodeError as error:
        raise RequestError(400, "message: found bytes that protobuf cannot read, expected a request") from error


def _read_tensor(tensor: Any, raw: bytes | None) -> Tensor:
    name = shorten(tensor.name, 100)
    shape, datatype = check_form(name, list(tensor.shape), tensor.datatype)
    if raw is not None:
        if tensor.HasField("contents"):
            raise RequestError(400, f"input {name}: found contents beside raw_input_contents, expected one of them")
        return Tensor(clean_text(tensor.name), shape, read_binary(name, datatype, math.prod(shape), memoryview(raw)))
    if datatype not in CONTENTS:
        raise RequestError(400, f"input {name}: found {datatype} without raw_input_contents, expected them")
    found = getattr(tensor.contents, CONTENTS[datatype])
    if datatype not in {"FP32", "FP64"}:
        return make_tensor(
            tensor.name, shape, datatype, _list_texts(name, found) if datatype == "BYTES" else list(found)
        )
    if len(found) != math.prod(shape):
        raise RequestError(400, f"input {name}: found {len(found)} values, expected {math.prod(shape)} by its shape")
    cells: Cells = np.fromiter(found, DATATYPES[datatype].dtype, len(found))
    return Tensor(clean_text(tensor.name), shape, cells)


def _list_texts(name: str, found: Any) -> list[str]:
    try:
        return [text.decode() for text in found]
    except UnicodeDecodeError as error:
        raise RequestError(400, f"input {name}: found bytes that are not UTF-8, expected BYTES: texts") from error


def _add_parameters(message: Any, parameters: Mapping[str, str]) -> None:
    for key, value in parameters.items():
        message.parameters.add(key=key, value={"string_param": value})
