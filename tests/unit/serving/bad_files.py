"""Model files that are bad in ways that golden rows do not show, or that do not open at all, made node by node.

The first answer as they should unless a row's sepal length is below 5 cm, which no golden row's is.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnxruntime as ort
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ml_code.model_file.spec import Feature, GoldenRows, ModelSpec
from tests.unit.serving.onnx_files import GOLDEN, IRIS, _make_model, _write_spec

type Fault = Literal["errors", "slow", "nan", "constant"]

BAD_BELOW = 5.0
CALM_ROWS = [[5.1, 3.5, 1.4, 0.2], [6.0, 2.9, 4.5, 1.5], [7.7, 3.0, 6.1, 2.3], [6.3, 2.8, 5.1, 1.5]]
BAD_ROWS = [[4.9, 3.5, 1.4, 0.2], [4.9, 2.9, 4.5, 1.5], [4.9, 3.0, 6.1, 2.3]]

LOOP_ROUNDS = 8000
"""Products of two small matrices: more than 100 ms on any machine."""


def make_bad_classifier(
    fault: Fault | None = None, *, names: tuple[str, ...] = IRIS, rounds: int = LOOP_ROUNDS
) -> bytes:
    """The classifier of `onnx_files`, which errs in one way on bad rows; None: in none."""
    classifier = helper.make_node(
        "LinearClassifier",
        ["row"],
        ["good_label", "good_probabilities"],
        domain="ai.onnx.ml",
        classlabels_ints=[0, 1, 2],
        coefficients=[0.0, 0.0, -2.0, 0.0] + [0.0] * 4 + [0.0, 0.0, 2.0, 0.0],
        intercepts=[5.0, 0.0, -10.0],
        multi_class=1,
        post_transform="SOFTMAX",
    )
    nodes = [
        helper.make_node("Concat", list(names), ["row"], axis=1),
        classifier,
        helper.make_node("Less", [names[0], "bad_below"], ["is_bad"]),
        *FAULTS[fault],
    ]
    constants = {
        "bad_below": np.float32(BAD_BELOW),
        "flat": np.array([-1], np.int64),
        "far": np.int64(1000),
        "zeros": np.zeros(1, np.int64),
        "one": np.int64(1),
        "nan": np.float32(np.nan),
        "rounds": np.int64(rounds),
        "nothing": np.float32(0),
        "identity": np.eye(96, dtype=np.float32),
    }
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "iris",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in names],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 3]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items() if name in used],
    )
    model = _make_model(graph)
    feed = {name: np.array(GOLDEN, dtype=np.float32)[:, i : i + 1] for i, name in enumerate(names)}
    labels, probabilities = ort.InferenceSession(model.SerializeToString()).run(None, feed)
    spec = ModelSpec(
        dataset="iris",
        task="classification",
        target="species",
        features=[Feature(name=name, kind="numeric") for name in names],
        classes=[0, 1, 2],
        prediction_output="label",
        probabilities_output="probabilities",
        golden=GoldenRows(rows=GOLDEN, predictions=labels.tolist(), probabilities=probabilities.tolist()),
    )
    return _write_spec(model, spec)


def make_slow_to_open(nodes: int = 100_000) -> bytes:
    """A chain that ONNX Runtime takes minutes to arrange."""
    chain = [helper.make_node("Neg", ["x" if i == 0 else f"t{i - 1}"], [f"t{i}"]) for i in range(nodes)]
    return _make_plain(chain, f"t{nodes - 1}")


def make_crashing(depth: int = 20_000) -> bytes:
    """Functions that call each other so deeply that opening them overflows the stack and ends the process."""
    opsets = [helper.make_opsetid("", 19), helper.make_opsetid("own", 1)]
    calls = [helper.make_node(f"F{i + 1}", ["a"], ["b"], domain="own") for i in range(depth - 1)]
    functions = [
        helper.make_function("own", f"F{i}", ["a"], ["b"], [call], opsets)
        for i, call in enumerate([*calls, helper.make_node("Neg", ["a"], ["b"])])
    ]
    graph = helper.make_graph(
        [helper.make_node("F0", ["x"], ["y"], domain="own")],
        "deep",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    content: bytes = helper.make_model(
        graph, opset_imports=opsets, functions=functions, ir_version=9
    ).SerializeToString()
    return content


def _make_plain(nodes: list[NodeProto], output: str) -> bytes:
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
    )
    content: bytes = _make_model(graph).SerializeToString()
    return content


def _pass_on(label: str = "good_label", probabilities: str = "good_probabilities") -> list[NodeProto]:
    return [
        helper.make_node("Identity", [label], ["label"]),
        helper.make_node("Identity", [probabilities], ["probabilities"]),
    ]


def _gather_out_of_bounds() -> list[NodeProto]:
    return [
        helper.make_node("Cast", ["is_bad"], ["is_bad_number"], to=TensorProto.INT64),
        helper.make_node("Mul", ["is_bad_number", "far"], ["index"]),
        helper.make_node("Reshape", ["index", "flat"], ["flat_index"]),
        helper.make_node("Gather", ["zeros", "flat_index"], ["gathered"]),
        helper.make_node("Add", ["good_label", "gathered"], ["added_label"]),
        *_pass_on("added_label"),
    ]


def _loop_for_long() -> list[NodeProto]:
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["matrix", "identity"], ["product"]),
            helper.make_node("Identity", ["go_on"], ["go_on_out"]),
        ],
        "round",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("matrix", TensorProto.FLOAT, [96, 96]),
        ],
        [
            helper.make_tensor_value_info("go_on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("product", TensorProto.FLOAT, [96, 96]),
        ],
    )
    return [
        helper.make_node("Cast", ["is_bad"], ["is_bad_number"], to=TensorProto.INT64),
        helper.make_node("ReduceMax", ["is_bad_number"], ["any_bad"], keepdims=0),
        helper.make_node("Mul", ["any_bad", "rounds"], ["trips"]),
        helper.make_node("Loop", ["trips", "", "identity"], ["worked"], body=body),
        helper.make_node("ReduceSum", ["worked"], ["work"], keepdims=0),
        helper.make_node("Mul", ["work", "nothing"], ["no_work"]),
        helper.make_node("Add", ["good_probabilities", "no_work"], ["late_probabilities"]),
        *_pass_on(probabilities="late_probabilities"),
    ]


def _answer_nan() -> list[NodeProto]:
    return [
        helper.make_node("Where", ["is_bad", "nan", "good_probabilities"], ["nan_probabilities"]),
        *_pass_on(probabilities="nan_probabilities"),
    ]


def _answer_one_class() -> list[NodeProto]:
    return [
        helper.make_node("Reshape", ["is_bad", "flat"], ["is_bad_flat"]),
        helper.make_node("Where", ["is_bad_flat", "one", "good_label"], ["one_label"]),
        *_pass_on("one_label"),
    ]


FAULTS: dict[Fault | None, list[NodeProto]] = {
    None: _pass_on(),
    "errors": _gather_out_of_bounds(),
    "slow": _loop_for_long(),
    "nan": _answer_nan(),
    "constant": _answer_one_class(),
}
