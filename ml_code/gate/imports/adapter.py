"""Builds the graph that serving reads around a foreign graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ml_code.gate.imports.columns import Slot
from ml_code.gate.imports.foreign_file import ML_DOMAIN
from ml_code.gate.imports.graph import PREFIX, hide_names, list_inputs
from ml_code.gate.imports.readings import NEAR, Columns, Reading

ANSWER, SHARES = "answer/prediction", "answer/probabilities"

TRUTH_IDS = {"True": 1, "1": 1}
"""Canonical texts that are true for an input of truth values; any other is false."""


def wrap(
    proto: onnx.ModelProto, inputs: Mapping[str, str], texts: Sequence[str], slots: Sequence[Slot], reading: Reading
) -> onnx.ModelProto:
    """Returns a model with one input for each feature, a prediction for each row, and perhaps probabilities.

    Args:
        proto: as it came; it stays unchanged.
        inputs: the new input of each feature, by the feature's name.
        texts: the features that are texts.
        slots: what each of its inputs reads.
        reading: what its outputs mean.
    """
    wrapped = onnx.ModelProto()
    wrapped.CopyFrom(proto)
    del wrapped.metadata_props[:]
    graph = wrapped.graph
    for value in list_inputs(graph):
        graph.input.remove(value)
    hide_names(graph)
    parts = _Parts(_merge_opsets(wrapped))
    _add_feeds(parts, inputs, texts, slots)
    feeds, parts.nodes = parts.nodes, []
    outputs = _add_answers(parts, reading)
    nodes = [*feeds, *graph.node, *parts.nodes]
    del graph.node[:], graph.output[:]
    graph.node.extend(nodes)
    graph.initializer.extend(parts.constants)
    graph.output.extend(outputs)
    graph.input.extend(
        helper.make_tensor_value_info(new, TensorProto.STRING if name in texts else TensorProto.FLOAT, [None, 1])
        for name, new in inputs.items()
    )
    return wrapped


def _merge_opsets(proto: onnx.ModelProto) -> int:
    """Writes each domain once, with the two that the added operators need; returns the version of ONNX-ML."""
    versions: dict[str, int] = {}
    for opset in proto.opset_import:
        domain = "" if opset.domain == "ai.onnx" else opset.domain
        versions[domain] = max(opset.version, versions.get(domain, 0))
    versions.setdefault("", 17)
    versions.setdefault(ML_DOMAIN, 3)
    del proto.opset_import[:]
    proto.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in sorted(versions.items()))
    return versions[ML_DOMAIN]


class _Parts:
    """Nodes and constants, with names of their own."""

    def __init__(self, ml_version: int) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._ml_version = ml_version
        self._count = 0

    def add(self, operator: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Adds a node, and returns the name of its output."""
        output = name or self._name()
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def constant(self, values: npt.ArrayLike, kind: npt.DTypeLike) -> str:
        """Adds a constant, and returns its name."""
        name = self._name()
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype=kind), name))
        return name

    def shape(self, value: str, sizes: Sequence[int], name: str | None = None) -> str:
        """Gives a tensor these sizes; -1 is free."""
        return self.add("Reshape", value, self.constant(sizes, np.int64), name=name)

    def cast(self, value: str, element: int, name: str | None = None) -> str:
        """Converts a tensor to a type."""
        return self.add("Cast", value, name=name, to=element)

    def look_up(self, texts: str, ids: Mapping[str, int], default: int) -> str:
        """Replaces texts by ids."""
        keys = list(ids)
        if self._ml_version == 1:  # there the operator answers a text's place in a list
            places = self.add("LabelEncoder", texts, domain=ML_DOMAIN, classes_strings=keys, default_int64=len(keys))
            table = self.constant([*ids.values(), default], np.int64)
            return self.add("Gather", table, places, axis=0)
        return self.add(
            "LabelEncoder",
            texts,
            domain=ML_DOMAIN,
            keys_strings=keys,
            values_int64s=list(ids.values()),
            default_int64=default,
        )

    def _name(self) -> str:
        self._count += 1
        return f"answer/{self._count}"


def _add_feeds(parts: _Parts, inputs: Mapping[str, str], texts: Sequence[str], slots: Sequence[Slot]) -> None:
    """Makes each input of the foreign graph of the inputs of its features."""
    for slot in slots:
        values = [inputs[column] for column in slot.columns]
        if slot.columns[0] in texts and slot.element == TensorProto.BOOL:
            values = [parts.look_up(value, TRUTH_IDS, 0) for value in values]
        joined = parts.add("Concat", *values, axis=1) if len(values) > 1 else values[0]
        if slot.element != TensorProto.STRING:
            joined = parts.cast(joined, slot.element)
        parts.shape(joined, [-1] if slot.is_flat else [-1, len(values)], name=PREFIX + slot.name)


def _add_answers(parts: _Parts, reading: Reading) -> list[onnx.ValueInfoProto]:
    """Makes the prediction, and perhaps probabilities, of the outputs of the foreign graph; returns both."""
    found = PREFIX + reading.output
    outputs = [helper.make_tensor_value_info(ANSWER, TensorProto.INT64, [None])]
    if reading.scores is not None:
        _choose(parts, reading.scores)
    elif reading.codes is None:
        parts.shape(parts.cast(found, TensorProto.FLOAT), [-1], name=ANSWER)
        return [helper.make_tensor_value_info(ANSWER, TensorProto.FLOAT, [None])]
    elif any(isinstance(code, str) for code in reading.codes):
        ids = {str(code): place for code, place in reading.codes.items()}
        parts.shape(parts.look_up(found, ids, -1), [-1], name=ANSWER)
    else:
        _look_up_numbers(parts, found, {int(code): place for code, place in reading.codes.items()})
    if reading.probabilities is not None:
        # A forest of two classes may add up to a little less than zero.
        parts.add("Relu", _put_in_order(parts, reading.probabilities), name=SHARES)
        outputs.append(helper.make_tensor_value_info(SHARES, TensorProto.FLOAT, [None, None]))
    return outputs


def _choose(parts: _Parts, scores: Columns) -> None:
    """The class of the largest number; of one column the second class if it is above one half."""
    if scores.order is not None:
        parts.add("ArgMax", _put_in_order(parts, scores), name=ANSWER, axis=1, keepdims=0)
        return
    share = parts.cast(PREFIX + scores.output, TensorProto.FLOAT)
    above = parts.add("Greater", share, parts.constant([0.5], np.float32))
    parts.shape(parts.cast(above, TensorProto.INT64), [-1], name=ANSWER)


def _put_in_order(parts: _Parts, columns: Columns) -> str:
    """One float32 column for each class."""
    numbers = parts.cast(PREFIX + columns.output, TensorProto.FLOAT)
    if columns.order is not None:
        return parts.add("Gather", numbers, parts.constant(columns.order, np.int64), axis=1)
    second = parts.shape(numbers, [-1, 1])
    first = parts.add("Sub", parts.constant([1], np.float32), second)
    return parts.add("Concat", first, second, axis=1)


def _look_up_numbers(parts: _Parts, found: str, ids: Mapping[int, int]) -> None:
    """The id of each number, and -1 for any other: by operators that every version has."""
    numbers = parts.shape(parts.cast(found, TensorProto.DOUBLE), [-1, 1])
    distances = parts.add("Abs", parts.add("Sub", numbers, parts.constant([list(ids)], np.float64)))
    is_code = parts.cast(parts.add("Less", distances, parts.constant([NEAR], np.float64)), TensorProto.DOUBLE)
    # One more than the id, so that a row without a code is 0.
    table = parts.constant([[place + 1] for place in ids.values()], np.float64)
    number = parts.add("Sub", parts.add("MatMul", is_code, table), parts.constant([1], np.float64))
    parts.shape(parts.cast(number, TensorProto.INT64), [-1], name=ANSWER)
