"""The Open Inference Protocol, version 2: tensors to the rows that a model reads, and answers to tensors.

https://github.com/kserve/open-inference-protocol. A tensor of shape (rows, features) holds whole rows of a model of
numbers; otherwise each feature is a tensor of shape (rows,) or (rows, 1). A missing value is null, as for /predict, or
NaN in a binary tensor. Warnings are JSON in the response's parameter `warnings`, which must be a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from ml_code.model_file.feed import Rows
from ml_code.model_file.onnx_model import Prediction
from ml_code.model_file.spec import ModelSpec
from serving.answering.findings import ReadRows
from serving.answering.rows import RowParser
from serving.answering.tensors import Tensor
from serving.answering.wire import JSON_WIRE, Output, OutputTensor, TensorRequest, TensorResponse, Wire
from serving.errors import RequestError
from serving.quoting import list_names, shorten

PREDICTIONS = "predictions"
PROBABILITIES = "probabilities"


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """The rows of a request, and the outputs that its response has."""

    id: str | None
    read: ReadRows
    outputs: Sequence[Output]

    @property
    def wants_probabilities(self) -> bool:
        """Whether the response has them."""
        return any(output.name == PROBABILITIES for output in self.outputs)


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

    def parse(self, body: bytes, wire: Wire = JSON_WIRE) -> InferenceRequest:
        """Reads and checks a request.

        Raises:
            RequestError: it is not a request of the protocol, or does not fit the model.
        """
        request = wire.read(body)
        read = self._parser.check(self._read_rows(request.tensors))
        return InferenceRequest(request.id, read, self._choose_outputs(request))

    def respond(self, request: InferenceRequest, prediction: Prediction, tail: dict[str, str]) -> TensorResponse:
        """The response to a request; `tail` has the names of model and version and an id."""
        outputs = [self._fill(output, prediction) for output in request.outputs]
        warnings = request.read.list_warnings()
        parameters = {"warnings": orjson.dumps(warnings).decode()} if warnings else {}
        return TensorResponse(tail["model_name"], tail["model_version"], request.id or tail["id"], outputs, parameters)

    def _fill(self, output: Output, prediction: Prediction) -> OutputTensor:
        known = self._outputs[output.name]
        parameters = known.get("parameters", {})
        if output.name == PROBABILITIES and prediction.probabilities is not None:
            shares = prediction.probabilities
            shape, data = list(shares.shape), shares.reshape(-1)
            return OutputTensor(output.name, known["datatype"], shape, data, output.is_binary, parameters)
        values: list[Any] = prediction.values
        if self._value_type == "BYTES":
            values = [str(value) for value in values]
        return OutputTensor(output.name, known["datatype"], [len(values)], values, output.is_binary, parameters)

    def _read_rows(self, tensors: Sequence[Tensor]) -> Rows:
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
        ordered = [by_name[name] for name in self._names]
        arrays = [tensor.cells for tensor in ordered if isinstance(tensor.cells, np.ndarray)]
        # Side by side, a float32 of 0.1 and an int32 would become float64, and 0.1 a number above it.
        if self._is_numeric and len(arrays) == len(ordered) and len({cells.dtype for cells in arrays}) == 1:
            return np.column_stack(arrays)
        return [list(row) for row in zip(*(tensor.list_cells() for tensor in ordered), strict=True)]

    def _read_matrix(self, tensor: Tensor) -> Rows:
        width = len(self._names)
        if len(tensor.shape) != 2 or tensor.shape[1] != width:
            raise RequestError(
                400,
                f"input {shorten(tensor.name, 100)}: found the shape {tensor.shape}, expected [rows, {width}]: "
                f"{list_names(self._names)}, or one input for each of them",
            )
        cells = tensor.cells
        if isinstance(cells, np.ndarray):
            return cells.reshape(-1, width)
        return [cells[start : start + width] for start in range(0, len(cells), width)]

    def _choose_outputs(self, request: TensorRequest) -> Sequence[Output]:
        if not request.outputs:
            return [Output(name, request.wants_binary) for name in self._outputs]
        names = [output.name for output in request.outputs]
        if unknown := [name for name in names if name not in self._outputs]:
            raise RequestError(400, f"outputs: found {list_names(unknown)}, expected names among {list(self._outputs)}")
        # A megabyte of repeated names would make a response of some gigabytes.
        if len(set(names)) < len(names):
            raise RequestError(400, f"outputs: found a name twice, expected each of {list(self._outputs)} once at most")
        return request.outputs


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
