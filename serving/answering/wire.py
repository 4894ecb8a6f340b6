"""Requests and responses of the Open Inference Protocol between their bytes and their meaning.

Each wire format reads a `TensorRequest` and writes a `TensorResponse`, and knows nothing of a model. JSON is the one of
REST, with the protocol's binary extension: tensors as bytes behind the JSON.
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import orjson

from serving.answering.rows import load_json
from serving.answering.tensors import Binary, Tensor, pack, read_tensor
from serving.errors import RequestError
from serving.quoting import MAX_QUOTED


@dataclass(frozen=True, slots=True)
class Output:
    """An output that a response shall have, and whether as bytes."""

    name: str
    is_binary: bool = False


@dataclass(frozen=True, slots=True)
class TensorRequest:
    """A request before it meets a model; without `outputs` it wants all, as bytes if `wants_binary`."""

    id: str | None
    tensors: Sequence[Tensor]
    outputs: Sequence[Output] = ()
    wants_binary: bool = False


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """One output of a response, with its values in row-major order."""

    name: str
    datatype: str
    shape: list[int]
    data: Sequence[Any] | npt.NDArray[np.generic]
    is_binary: bool = False
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TensorResponse:
    """A response before it is written."""

    model_name: str
    model_version: str
    id: str
    outputs: Sequence[OutputTensor]
    parameters: Mapping[str, str] = field(default_factory=dict)


class Wire(Protocol):
    """One form of requests and responses as bytes."""

    def read(self, body: bytes) -> TensorRequest:
        """Reads a request.

        Raises:
            RequestError: it is not one of the protocol (400).
        """

    def write(self, response: TensorResponse) -> tuple[bytes, int]:
        """Writes a response; the number is the length of the JSON before binary tensors, 0 where there are none."""


@dataclass(frozen=True, slots=True)
class JsonWire:
    """JSON; `json_bytes` is its length where tensors follow as bytes.

    >>> JsonWire().read(b'{"inputs":[{"name":"rows","shape":[1,2],"datatype":"FP32","data":[1,2]}]}').tensors
    [Tensor(name='rows', shape=[1, 2], cells=[1, 2])]
    """

    json_bytes: int | None = None

    def read(self, body: bytes) -> TensorRequest:
        """Reads a request.

        Raises:
            RequestError: it is not JSON, or not a request of the protocol (400).
        """
        binary = None
        if self.json_bytes is not None:
            if self.json_bytes > len(body):
                found = f"found {self.json_bytes} bytes of JSON in a body of {len(body)}"
                raise RequestError(400, f"Inference-Header-Content-Length: {found}, expected its length or less")
            binary = Binary(memoryview(body)[self.json_bytes :])
            body = body[: self.json_bytes]
        request = load_json(body, "an object with inputs")
        if not isinstance(request, dict):
            raise RequestError(400, "body: found no object, expected one with inputs")
        tensors = [read_tensor(entry, binary) for entry in _read_list(request, "inputs")]
        if binary is not None:
            binary.check_end()
        wants_binary = _read_flag(request, "binary_data_output")
        return TensorRequest(check_id(request.get("id")), tensors, _read_outputs(request, wants_binary), wants_binary)

    @staticmethod
    def write(response: TensorResponse) -> tuple[bytes, int]:
        """Writes a response, with the tensors behind it that shall be bytes."""
        outputs, blobs = [], []
        for tensor in response.outputs:
            output: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
            parameters: dict[str, Any] = dict(tensor.parameters)
            if tensor.is_binary:
                blobs.append(pack(tensor.datatype, tensor.data))
                parameters["binary_data_size"] = len(blobs[-1])
            else:
                # /predict writes the digits of a float64 too.
                data = tensor.data.astype(np.float64) if isinstance(tensor.data, np.ndarray) else tensor.data
                output["data"] = data
            outputs.append(output | ({"parameters": parameters} if parameters else {}))
        known = {"model_name": response.model_name, "model_version": response.model_version, "id": response.id}
        content: dict[str, Any] = {**known, "outputs": outputs}
        if response.parameters:
            content["parameters"] = response.parameters
        head = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
        return (b"".join((head, *blobs)), len(head)) if blobs else (head, 0)


JSON_WIRE = JsonWire()


def check_id(found: Any) -> str | None:
    """A client's own id; None without one.

    Raises:
        RequestError: it is not a text, or too long (400).
    """
    if found is not None and not isinstance(found, str):
        raise RequestError(400, "id: found another type, expected a text or none")
    if found and len(found) > MAX_QUOTED:
        raise RequestError(400, f"id: found {len(found)} characters, expected at most {MAX_QUOTED}")
    return found or None


def _read_outputs(request: dict[str, Any], wants_binary: bool) -> list[Output]:
    if request.get("outputs") is None:
        return []
    return [
        Output(str(entry.get("name")), _read_flag(entry, "binary_data", wants_binary))
        if isinstance(entry, dict)
        else Output("none")
        for entry in _read_list(request, "outputs")
    ]


def _read_flag(entry: dict[str, Any], name: str, default: bool = False) -> bool:
    parameters = entry.get("parameters")
    found = parameters.get(name, default) if isinstance(parameters, dict) else default
    if not isinstance(found, bool):
        raise RequestError(400, f"parameter {name}: found another type, expected true or false")
    return found


def _read_list(request: dict[str, Any], name: str) -> list[Any]:
    found = request.get(name)
    if not isinstance(found, list) or not found:
        raise RequestError(400, f"{name}: found no list with an entry, expected one")
    return found
