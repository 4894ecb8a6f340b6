"""The Open Inference Protocol, version 2: tensors as JSON to the rows that a model reads, and answers to tensors.

https://github.com/kserve/open-inference-protocol; without its binary extension. A tensor of shape (rows, features)
holds whole rows of a model of numbers; otherwise each feature is a tensor of shape (rows,) or (rows, 1). null is a
missing value, as for /predict. Warnings are JSON in the response's parameter `warnings`, which must be a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from ml_code.model_file.onnx_model import Prediction
from ml_code.model_file.spec import ModelSpec, Value
from serving.answering.findings import ReadRows
from serving.answering.rows import RowParser, load_json
from serving.answering.tensors import Tensor, read_tensor
from serving.errors import RequestError
from serving.quoting import MAX_QUOTED, list_names, shorten

PREDICTIONS = "predictions"
PROBABILITIES = "probabilities"


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """The rows of a request, and the outputs it wants (all, if it names none)."""

    id: str | None
    read: ReadRows
    outputs: tuple[str, ...]


class Inference:
    """Speaks the protocol for one model.

    >>> Inference(spec, RowParser(spec)).parse(body).read.rows
    [[5.1, 3.5, 1.4, 0.2]]
    """

    def __init__(self, spec: ModelSpec, parser: RowParser) -> None:
        self._parser = parser
        self._features = spec.features
        self._names = [feature.name for feature in spec.features]
        self._is_numeric = all(feature.kind == "numeric" for feature in spec.features)
        self._outputs = _describe_outputs(spec)
        self._value_type = self._outputs[PREDICTIONS]["datatype"]

    def describe(self, name: str, version: str) -> dict[str, Any]:
        """The metadata of the model."""
        types = {"numeric": "FP32", "categorical": "BYTES"}
        inputs = [{"name": f.name, "datatype": types[f.kind], "shape": [-1, 1]} for f in self._features]
        outputs = list(self._outputs.values())
        return {"name": name, "versions": [version], "platform": "onnx_onnxv1", "inputs": inputs, "outputs": outputs}

    def parse(self, body: bytes) -> InferenceRequest:
        """Parses and checks a request.

        Raises:
            RequestError: it is not JSON, is not a request of the protocol, or does not fit the model.
        """
        request = _load_object(body)
        tensors = [read_tensor(entry) for entry in _read_list(request, "inputs")]
        read = self._parser.check(self._read_rows(tensors))
        return InferenceRequest(_read_id(request), read, self._read_outputs(request))

    def render(self, request: InferenceRequest, prediction: Prediction, tail: dict[str, str]) -> bytes:
        """The response to a request; `tail` has the names of model and version and an id."""
        values: list[Any] = prediction.values
        if self._value_type == "BYTES":
            values = [str(value) for value in values]
        outputs = []
        for name in self.list_outputs(request):
            data: Any = values
            shape = [len(values)]
            if name == PROBABILITIES and prediction.probabilities is not None:
                shape = list(prediction.probabilities.shape)
                data = prediction.probabilities.reshape(-1).astype(np.float64)
            outputs.append(self._outputs[name] | {"shape": shape, "data": data})
        response: dict[str, Any] = {**tail, "id": request.id or tail["id"], "outputs": outputs}
        if request.read.warnings:
            response["parameters"] = {"warnings": orjson.dumps(request.read.list_warnings()).decode()}
        return orjson.dumps(response, option=orjson.OPT_SERIALIZE_NUMPY)

    def list_outputs(self, request: InferenceRequest) -> Sequence[str]:
        """The names of the outputs that the response has."""
        return request.outputs or tuple(self._outputs)

    def _read_rows(self, tensors: list[Tensor]) -> list[list[Value]]:
        names = [tensor.name for tensor in tensors]
        if len(tensors) == 1 and self._is_numeric and names != self._names:
            return self._read_matrix(tensors[0])
        if sorted(names) != sorted(self._names):
            one = f"one of shape [rows, {len(self._names)}], or " if self._is_numeric else ""
            raise RequestError(
                400, f"inputs: found {list_names(names)}, expected {one}one for each of {list_names(self._names)}"
            )
        by_name = {tensor.name: tensor for tensor in tensors}
        count = by_name[self._names[0]].shape[0]
        for tensor in tensors:
            if tensor.shape not in ([count], [count, 1]):
                name = shorten(tensor.name, 100)
                raise RequestError(
                    400, f"input {name}: found the shape {tensor.shape}, expected [{count}] or [{count}, 1]"
                )
        return [list(row) for row in zip(*(by_name[name].cells for name in self._names), strict=True)]

    def _read_matrix(self, tensor: Tensor) -> list[list[Value]]:
        width = len(self._names)
        if len(tensor.shape) != 2 or tensor.shape[1] != width:
            raise RequestError(
                400,
                f"input {shorten(tensor.name, 100)}: found the shape {tensor.shape}, expected [rows, {width}]: "
                f"{list_names(self._names)}, or one input for each of them",
            )
        return [tensor.cells[start : start + width] for start in range(0, len(tensor.cells), width)]

    def _read_outputs(self, request: dict[str, Any]) -> tuple[str, ...]:
        if request.get("outputs") is None:
            return ()
        entries = _read_list(request, "outputs")
        names = tuple(str(entry.get("name")) if isinstance(entry, dict) else "none" for entry in entries)
        if unknown := [name for name in names if name not in self._outputs]:
            raise RequestError(400, f"outputs: found {list_names(unknown)}, expected names among {list(self._outputs)}")
        # A megabyte of repeated names would make a response of some gigabytes.
        if len(set(names)) < len(names):
            raise RequestError(400, f"outputs: found a name twice, expected each of {list(self._outputs)} once at most")
        return names


def _describe_outputs(spec: ModelSpec) -> dict[str, dict[str, Any]]:
    labels: Sequence[object] = spec.classes or spec.golden.predictions
    datatype = "FP64"
    if spec.task == "classification":
        datatype = "INT64" if all(type(label) is int for label in labels) else "BYTES"
    outputs: dict[str, dict[str, Any]] = {PREDICTIONS: {"name": PREDICTIONS, "datatype": datatype, "shape": [-1]}}
    if spec.probabilities_output:
        outputs[PROBABILITIES] = {
            "name": PROBABILITIES,
            "datatype": "FP32",
            "shape": [-1, len(spec.classes) if spec.classes else -1],
            # The protocol's parameters are texts, numbers or booleans.
            "parameters": {"classes": orjson.dumps(spec.classes).decode()},
        }
    return outputs


def _load_object(body: bytes) -> dict[str, Any]:
    request = load_json(body, "an object with inputs")
    if not isinstance(request, dict):
        raise RequestError(400, "body: found no object, expected one with inputs")
    return request


def _read_list(request: dict[str, Any], name: str) -> list[Any]:
    found = request.get(name)
    if not isinstance(found, list) or not found:
        raise RequestError(400, f"{name}: found no list with an entry, expected one")
    return found


def _read_id(request: dict[str, Any]) -> str | None:
    found = request.get("id")
    if found is not None and not isinstance(found, str):
        raise RequestError(400, "id: found another type, expected a text or none")
    if found and len(found) > MAX_QUOTED:
        raise RequestError(400, f"id: found {len(found)} characters, expected at most {MAX_QUOTED}")
    return found or None
