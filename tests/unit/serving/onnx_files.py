"""Small model files made by hand, so that a test of serving needs no training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime as ort
from onnx import GraphProto, ModelProto, TensorProto, helper

from ml_code.model_file.spec import METADATA_KEY, Feature, GoldenRows, ModelSpec, Value

IRIS = ("sepal_length", "sepal_width", "petal_length", "petal_width")
GOLDEN: list[list[Value]] = [[5.1, 3.5, 1.4, 0.2], [6.0, 2.9, 4.5, 1.5], [7.7, 3.0, 6.1, 2.3]]


def make_classifier(*, answer: int | None = None, golden_predictions: Sequence[int] | None = None) -> bytes:
    """A file that tells iris's species apart by petal length, or always answers the same class."""
    coefficients = [0.0, 0.0, -2.0, 0.0] + [0.0] * 4 + [0.0, 0.0, 2.0, 0.0]
    intercepts = [5.0, 0.0, -10.0]
    if answer is not None:
        coefficients, intercepts = [0.0] * 12, [9.0 if label == answer else 0.0 for label in range(3)]
    classifier = helper.make_node(
        "LinearClassifier",
        ["row"],
        ["label", "probabilities"],
        domain="ai.onnx.ml",
        classlabels_ints=[0, 1, 2],
        coefficients=coefficients,
        intercepts=intercepts,
        multi_class=1,
        post_transform="SOFTMAX",
    )
    graph = helper.make_graph(
        [helper.make_node("Concat", list(IRIS), ["row"], axis=1), classifier],
        "iris",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in IRIS],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 3]),
        ],
    )
    model = _make_model(graph)
    feed = {name: np.array(GOLDEN, dtype=np.float32)[:, i : i + 1] for i, name in enumerate(IRIS)}
    labels, probabilities = ort.InferenceSession(model.SerializeToString()).run(None, feed)
    spec = ModelSpec(
        dataset="iris",
        task="classification",
        target="species",
        features=[Feature(name=name, kind="numeric") for name in IRIS],
        classes=[0, 1, 2],
        prediction_output="label",
        probabilities_output="probabilities",
        golden=GoldenRows(
            rows=GOLDEN,
            predictions=list(golden_predictions) if golden_predictions else labels.tolist(),
            probabilities=probabilities.tolist(),
        ),
    )
    return _write_spec(model, spec)


def make_mixed_regressor() -> bytes:
    """A file of one number and one category: ten times the size, and 100 more where the port is `busan`."""
    nodes = [
        helper.make_node(
            "OneHotEncoder", ["port"], ["ports"], domain="ai.onnx.ml", cats_strings=["busan", "3"], zeros=1
        ),
        helper.make_node("Reshape", ["ports", "flat"], ["flags"]),
        helper.make_node("Concat", ["size", "flags"], ["row"], axis=1),
        helper.make_node(
            "LinearRegressor",
            ["row"],
            ["price"],
            domain="ai.onnx.ml",
            coefficients=[10.0, 100.0, 7.0],
            intercepts=[0.0],
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "ships",
        [
            helper.make_tensor_value_info("size", TensorProto.FLOAT, [None, 1]),
            helper.make_tensor_value_info("port", TensorProto.STRING, [None, 1]),
        ],
        [helper.make_tensor_value_info("price", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor("flat", TensorProto.INT64, [2], [-1, 2])],
    )
    spec = ModelSpec(
        dataset="ships",
        task="regression",
        target="price",
        features=[Feature(name="size", kind="numeric"), Feature(name="port", kind="categorical")],
        prediction_output="price",
        golden=GoldenRows(rows=[[1.0, "busan"], [2.0, None]], predictions=[110.0, 20.0]),
    )
    return _write_spec(_make_model(graph), spec)


def make_wide_regressor(categories: int = 5_000) -> bytes:
    """A linear file of one category, which becomes thousands of columns: the price is the category's number."""
    names = [f"c{number:05d}" for number in range(categories)]
    nodes = [
        helper.make_node("OneHotEncoder", ["port"], ["ports"], domain="ai.onnx.ml", cats_strings=names, zeros=1),
        helper.make_node("Reshape", ["ports", "flat"], ["row"]),
        helper.make_node(
            "LinearRegressor",
            ["row"],
            ["price"],
            domain="ai.onnx.ml",
            coefficients=[float(number) for number in range(categories)],
            intercepts=[0.0],
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "wide",
        [helper.make_tensor_value_info("port", TensorProto.STRING, [None, 1])],
        [helper.make_tensor_value_info("price", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor("flat", TensorProto.INT64, [2], [-1, categories])],
    )
    spec = ModelSpec(
        dataset="wide",
        task="regression",
        target="price",
        features=[Feature(name="port", kind="categorical", categories=names)],
        prediction_output="price",
        golden=GoldenRows(rows=[["c00001"], ["c00002"]], predictions=[1.0, 2.0]),
    )
    return _write_spec(_make_model(graph), spec)


def describe_training(content: bytes, *, unknown: str = "warn", **features: dict[str, object]) -> bytes:
    """The same file with what its features knew in training, by name."""
    model = ModelProto.FromString(content)
    spec = ModelSpec.model_validate_json(model.metadata_props[0].value)
    described = [feature.model_copy(update=features.get(feature.name, {})) for feature in spec.features]
    del model.metadata_props[:]
    return _write_spec(model, spec.model_copy(update={"features": described, "unknown": unknown}))


def _make_model(graph: GraphProto) -> ModelProto:
    opsets = [helper.make_opsetid("", 19), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def _write_spec(model: ModelProto, spec: ModelSpec) -> bytes:
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, spec.model_dump_json()
    content: bytes = model.SerializeToString()
    return content
