"""Edits and reads a graph that another framework wrote."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from ml_code.gate.imports.foreign_file import ML_DOMAIN

PREFIX = "file/"
"""Begins the name of everything that came with the file, so that it never meets a name of this project."""

CARRIERS = frozenset({
    "Cast", "Dropout", "Flatten", "Identity", "Normalizer", "Reshape", "Softmax", "Squeeze", "Unsqueeze",
})  # fmt: skip
"""Operators that hand the order of the classes on."""

CHOICES = frozenset({
    "ArgMax", "ArgMin", "Binarizer", "Cast", "Greater", "GreaterOrEqual", "Hardmax", "Less", "LessOrEqual",
    "ThresholdedRelu", "TopK",
})  # fmt: skip
"""Operators that return some number even where all numbers are NaN; a Cast does to whole numbers."""

FLOAT_KINDS = frozenset({
    TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.STRING,
})  # fmt: skip
"""Types to which a Cast keeps a NaN."""


def list_inputs(graph: GraphProto) -> list[onnx.ValueInfoProto]:
    """The inputs that are not weights: before IR version 4 each weight is an input too."""
    weights = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in weights]


def list_sizes(value: onnx.ValueInfoProto) -> list[int | None] | None:
    """Declared sizes of a tensor, None for a free one; None if nothing is declared."""
    if not value.type.tensor_type.HasField("shape"):
        return None
    sizes = value.type.tensor_type.shape.dim
    return [size.dim_value if size.HasField("dim_value") else None for size in sizes]


def free_rows(graph: GraphProto) -> None:
    """Frees the number of rows of each input and output, which an export fixes at that of its example.

    Whether the graph computes any number of rows is tried afterwards.
    """
    for value in [*list_inputs(graph), *graph.output]:
        sizes = value.type.tensor_type.shape.dim
        if len(sizes) > 1 or (sizes and value in graph.output):
            sizes[0].Clear()
    del graph.value_info[:]


def name_type(element: int) -> str:
    """The name of a tensor's type, such as float or int64."""
    known = element in TensorProto.DataType.values()
    return str(TensorProto.DataType.Name(element)).lower() if known else f"type {element}"


def list_tensor_outputs(graph: GraphProto) -> list[str]:
    """The names of the outputs that are tensors, in the order of the file."""
    return [value.name for value in graph.output if value.type.WhichOneof("value") in {"tensor_type", None}]


def bypass_zipmaps(graph: GraphProto) -> dict[str, list[int | str]]:
    """Replaces each output of maps, as skl2onnx writes it, by its matrix; returns the labels of its columns."""
    labels: dict[str, list[int | str]] = {}
    makers = {node.output[0]: node for node in graph.node if node.op_type == "ZipMap" and node.domain == ML_DOMAIN}
    for value in graph.output:
        if value.name in makers:
            matrix = makers[value.name].input[0]
            labels[matrix] = _read_labels(makers[value.name], {}) or []
            value.CopyFrom(onnx.ValueInfoProto(name=matrix))  # of the type that its operator makes
    used = {name for node in graph.node for name in node.input}
    for name, node in makers.items():
        if name not in used:
            graph.node.remove(node)
    # One matrix may be an output already.
    seen: set[str] = set()
    for value in list(graph.output):
        if value.name in seen:
            graph.output.remove(value)
        seen.add(value.name)
    return labels


def watch_choices(graph: GraphProto) -> list[str]:
    """Adds what each choosing operator chooses from to the outputs, and returns the new names.

    Weights are left out, and tensors in which the graph looks for NaN itself.
    """
    known = {value.name for value in (*graph.output, *graph.initializer)}
    known |= {node.input[0] for node in graph.node if node.op_type == "IsNaN"}
    names = [name for node in graph.node if _chooses(node) for name in node.input]
    names += [node.output[1] for node in graph.node if node.domain == ML_DOMAIN and len(node.output) > 1]
    watched = [name for name in dict.fromkeys(names) if name not in known and name]
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in watched)
    return watched


def find_declared_labels(graph: GraphProto, output: str) -> list[int | str] | None:
    """The labels that the file lists for an output, in the order of its columns; None if it lists none."""
    makers = {name: node for node in graph.node for name in node.output}
    weights = {tensor.name: tensor for tensor in graph.initializer}
    name, steps = output, 0
    while name in makers and steps < len(graph.node):
        node, steps = makers[name], steps + 1
        labels = _read_labels(node, weights)
        if labels is not None or node.op_type not in CARRIERS:
            return labels
        name = node.input[0]
    return None


def hide_names(graph: GraphProto) -> None:
    """Puts a prefix before every name, in the graphs of loops and branches too."""
    for node in graph.node:
        node.name = _prefix(node.name)
        _prefix_all(node.input)
        _prefix_all(node.output)
        for inner in _list_subgraphs(node):
            hide_names(inner)
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = _prefix(value.name)
    for sparse in graph.sparse_initializer:
        sparse.values.name = _prefix(sparse.values.name)
    del graph.quantization_annotation[:]  # a hint for converters: no runtime reads it


def _chooses(node: NodeProto) -> bool:
    kinds = [attribute.i for attribute in node.attribute if attribute.name == "to"]
    return node.op_type in CHOICES and not FLOAT_KINDS.intersection(kinds)


def _read_labels(node: NodeProto, weights: dict[str, TensorProto]) -> list[int | str] | None:
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    for name in ("classlabels_ints", "classlabels_int64s", "classlabels_strings"):
        if attributes.get(name):
            return [_decode(label) for label in attributes[name]]
    if node.op_type == "ArrayFeatureExtractor" and node.input[0] in weights:
        return [_decode(label) for label in numpy_helper.to_array(weights[node.input[0]]).reshape(-1).tolist()]
    if node.op_type == "LabelEncoder":
        keys = list(attributes.get("keys_int64s", []))
        values = attributes.get("values_strings") or attributes.get("values_int64s")
        if values and sorted(keys) == list(range(len(values))):
            return [_decode(label) for _, label in sorted(zip(keys, values, strict=True))]
    return None


def _decode(label: object) -> int | str:
    if isinstance(label, bytes):
        return label.decode("utf-8", errors="replace")
    if isinstance(label, float) and label.is_integer():
        return int(label)
    return label if isinstance(label, int | str) else str(label)


def _list_subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _prefix(name: str) -> str:
    return PREFIX + name if name else name


def _prefix_all(names: Sequence[str]) -> None:
    names[:] = [_prefix(name) for name in names]  # type: ignore[index]
