"""A table of two numbers, and graphs of other frameworks over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pandas as pd
from onnx import NodeProto, TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from ml_code.data.features import select_inputs
from ml_code.data.holdout import Split, split_holdout
from ml_code.datasets import Dataset
from ml_code.gate.imported_model import adapt
from ml_code.gate.imports.readings import Answers
from ml_code.model_file.onnx_model import OnnxModel, Prediction

ROWS = 240
COLUMNS = ["wide", "long"]


def make_dataset(task: str = "classification", **changes: object) -> Dataset:
    described = {
        "name": "shapes",
        "task": task,
        "target": "kind",
        "numeric": COLUMNS,
        "source": {"kind": "file", "path": "shapes.csv"},
        "gate": {"metric": "accuracy" if task == "classification" else "r2", "threshold": 0.5},
    }
    return Dataset.model_validate(described | changes)


def make_rows(labels: Sequence[object] = (0, 1)) -> pd.DataFrame:
    """The sum of the two numbers decides on the label, the smallest sums on the first one."""
    random = np.random.default_rng(7)
    wide, long = random.uniform(0, 4, ROWS).round(2), random.uniform(0, 4, ROWS).round(2)
    places = np.minimum(((wide + long) / 8 * len(labels)).astype(int), len(labels) - 1)
    return pd.DataFrame({"wide": wide, "long": long, "kind": [labels[place] for place in places]})


def fit(rows: pd.DataFrame, **options: Any) -> tuple[LogisticRegression, onnx.ModelProto]:
    """A model of scikit-learn on one matrix, and its file."""
    model = LogisticRegression(C=100, max_iter=2000).fit(rows[COLUMNS].to_numpy(np.float32), rows["kind"])
    return model, to_onnx(model, rows[COLUMNS].to_numpy(np.float32)[:1], target_opset=19, **options)


def make_graph(
    nodes: Sequence[NodeProto],
    outputs: Sequence[tuple[str, int, Sequence[object]]],
    weights: dict[str, object] | None = None,
    inputs: Sequence[tuple[str, int, Sequence[object]]] = (("x", TensorProto.FLOAT, ("n", 2)),),
    opset: int = 19,
) -> onnx.ModelProto:
    """A graph of nodes; inputs and outputs are (name, type, sizes)."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(name, kind, list(sizes)) for name, kind, sizes in inputs],
        [helper.make_tensor_value_info(name, kind, list(sizes)) for name, kind, sizes in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=imports, ir_version=9)


def make_sums(kind: Any = np.float32, count: int = 2) -> tuple[list[NodeProto], dict[str, object]]:
    """Nodes that make `sums`, one column for each class; a row of a large sum belongs to a late class."""
    steps = np.arange(count)
    weights = {
        "w": np.stack([steps, steps]).astype(kind),
        "b": (-4.0 * steps * (steps + 1) / count).astype(kind),
    }
    return [
        helper.make_node("MatMul", ["x", "w"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["sums"]),
    ], weights


def make_sigmoid(sizes: Sequence[object] = ("n", "m")) -> onnx.ModelProto:
    """The probability of the second class in one column."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], ["p"]),
    ]
    weights = {"w": np.array([[3], [3]], np.float32), "b": np.array([-12], np.float32)}
    return make_graph(nodes, [("p", TensorProto.FLOAT, sizes)], weights)


def make_matrix(kind: int, *, name: str = "x") -> onnx.ModelProto:
    """Reads one matrix of a type."""
    nodes, weights = make_sums()
    nodes.insert(0, helper.make_node("Cast", [name], ["cast"], to=TensorProto.FLOAT))
    nodes[1].input[0] = "cast"
    nodes.append(helper.make_node("Softmax", ["sums"], ["p"], axis=1))
    return make_graph(nodes, [("p", TensorProto.FLOAT, ("n", 2))], weights, [(name, kind, ("n", 2))])


def take(
    proto: onnx.ModelProto, rows: pd.DataFrame, dataset: Dataset | None = None, answers: Answers | None = None
) -> OnnxModel:
    """The adapted file, opened."""
    return OnnxModel(adapt(*split(rows, dataset, proto), "file.onnx", answers))


def split(
    rows: pd.DataFrame, dataset: Dataset | None, proto: onnx.ModelProto
) -> tuple[Dataset, onnx.ModelProto, Split]:
    described = dataset or make_dataset()
    return described, proto, split_holdout(described, rows)


def predict(model: OnnxModel, rows: pd.DataFrame, dataset: Dataset | None = None) -> Prediction:
    inputs = select_inputs(dataset or make_dataset(), rows)
    return model.predict_columns({name: inputs[name].tolist() for name in inputs.columns})


def measure(model: OnnxModel, rows: pd.DataFrame, dataset: Dataset | None = None) -> float:
    """Share of rows with the right label."""
    answers = predict(model, rows, dataset).values
    return float(np.mean([a == b for a, b in zip(answers, rows["kind"].tolist(), strict=True)]))
