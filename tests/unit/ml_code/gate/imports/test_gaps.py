"""Missing cells in the rows of a foreign file: read, refused, or never answered by chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ml_code.errors import ModelFileError
from ml_code.gate.imported_model import adapt
from ml_code.gate.imports.graph import watch_choices
from tests.unit.ml_code.gate.imports.foreign import (
    make_dataset,
    make_graph,
    make_matrix,
    make_rows,
    make_sums,
    split,
    take,
)


def test_a_column_with_gaps_needs_a_graph_that_reads_them() -> None:
    rows = make_rows()
    rows.loc[5, "long"] = None
    with pytest.raises(ModelFileError, match="it returns NaN for a missing cell of long; fill gaps in the graph"):
        take(make_matrix(TensorProto.FLOAT), rows)
    whole = rows[["wide", "long"]].round(0).assign(kind=rows["kind"])
    with pytest.raises(ModelFileError, match=r"found a missing cell in the column long.* fill gaps in the graph"):
        take(make_matrix(TensorProto.INT64), whole)


def test_a_choice_among_nothing_is_no_answer_to_a_gap() -> None:
    """ArgMax answers 0 where all numbers are NaN, and no output shows it."""
    rows = make_rows()
    rows.loc[5, "long"] = None
    nodes, weights = make_sums()
    nodes.append(helper.make_node("ArgMax", ["sums"], ["place"], axis=1, keepdims=0))
    proto = make_graph(nodes, [("place", TensorProto.INT64, ("n",))], weights)
    with pytest.raises(ModelFileError, match="it returns NaN for a missing cell of long"):
        take(proto, rows)
    model = take(proto, rows.dropna())
    assert [feature.is_required for feature in model.spec.features] == [True, True]


def make_comparison() -> onnx.ModelProto:
    """A file whose function finds whether the sum is above four; NaN is not."""
    within = [
        helper.make_node("ReduceSum", ["a", "axes"], ["s"]),
        helper.make_node("Greater", ["s", "b"], ["is_above"]),
    ]
    nodes = [
        helper.make_node("IsAbove", ["x", "four", "axes"], ["is_above"], domain="example.org"),
        helper.make_node("Cast", ["is_above"], ["label"], to=TensorProto.INT64),
    ]
    proto = make_graph(nodes, [("label", TensorProto.INT64, ("n", 1))], {"four": np.float32(4), "axes": np.array([1])})
    inner = helper.make_function("example.org", "IsAbove", ["a", "b", "axes"], ["is_above"], within, proto.opset_import)
    proto.functions.append(inner)
    proto.opset_import.append(helper.make_opsetid("example.org", 1))
    return proto


def make_whole_numbers() -> onnx.ModelProto:
    """A file of the sum as a whole number; NaN becomes the smallest one."""
    nodes = [
        helper.make_node("ReduceSum", ["x", "axes"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["whole"], to=TensorProto.INT64),
    ]
    return make_graph(nodes, [("whole", TensorProto.INT64, ("n",))], {"axes": np.array([1])})


@pytest.mark.parametrize(
    ("proto", "task"), [(make_comparison(), "classification"), (make_whole_numbers(), "regression")]
)
def test_a_number_made_of_nothing_is_no_answer_to_a_gap(proto: onnx.ModelProto, task: str) -> None:
    dataset, rows = make_dataset(task), make_rows()
    if task == "regression":
        rows = rows.assign(kind=rows["wide"] + rows["long"])
    model = take(proto, rows, dataset)
    assert [feature.is_required for feature in model.spec.features] == [True, True]
    rows.loc[5, "long"] = None
    with pytest.raises(ModelFileError, match="it returns NaN for a missing cell of long"):
        take(proto, rows, dataset)


def test_a_graph_that_fills_gaps_reads_null() -> None:
    nodes, weights = make_sums()
    fill = {"imputed_value_floats": [1.0, 2.0], "replaced_value_float": float("nan")}
    nodes.insert(0, helper.make_node("Imputer", ["x"], ["full"], domain="ai.onnx.ml", **fill))
    nodes[1].input[0] = "full"
    rows = make_rows()
    model = take(make_graph(nodes, [("sums", TensorProto.FLOAT, ("n", 2))], weights), rows)
    assert [feature.is_required for feature in model.spec.features] == [False, False]
    assert model.predict_rows([[4.0, None], [None, 4.0]]).values == [1, 1]


def test_a_graph_that_looks_for_gaps_before_it_compares_reads_null() -> None:
    nodes = [
        helper.make_node("ReduceSum", ["x", "axes"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "four"], ["is_above"]),
        helper.make_node("Cast", ["is_above"], ["known"], to=TensorProto.INT64),
        helper.make_node("IsNaN", ["sum"], ["is_gap"]),
        helper.make_node("Where", ["is_gap", "one", "known"], ["label"]),
    ]
    weights = {"axes": np.array([1]), "four": np.float32(4), "one": np.array(1)}
    proto = make_graph(nodes, [("label", TensorProto.INT64, ("n",))], weights)
    model = take(proto, make_rows())
    assert [feature.is_required for feature in model.spec.features] == [False, False]
    assert model.predict_rows([[1.0, None], [None, 4.0], [1.0, 2.0]]).values == [1, 1, 0]
    assert watch_choices(proto.graph) == ["is_above"]


@pytest.mark.parametrize("cell", [None, 2.5])
def test_a_held_out_cell_that_the_file_does_not_read_is_refused(cell: float | None) -> None:
    """A rollout would replay the row, and find the version failing."""
    rows = make_rows().round(0)
    dataset, _, parts = split(rows, None, onnx.ModelProto())
    parts = replace(parts, holdout=parts.holdout.assign(long=cell))
    with pytest.raises(ModelFileError, match=r"in the column long|missing cells of long"):
        adapt(dataset, make_matrix(TensorProto.INT64), parts, "file.onnx")
