"""How a foreign file reads the columns: types, names, missing cells, and rows beside each other."""

from __future__ import annotations

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import NodeProto, TensorProto, helper
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from ml_code.datasets import Dataset
from ml_code.errors import ModelFileError
from ml_code.gate.imports.columns import Slot
from tests.unit.ml_code.gate.imports.foreign import (
    fit,
    make_dataset,
    make_graph,
    make_matrix,
    make_rows,
    make_sums,
    measure,
    predict,
    take,
)

WHOLE = (TensorProto.INT64, TensorProto.INT32, TensorProto.INT8, TensorProto.UINT8)
FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)


def make_each(names: list[str], kind: int = TensorProto.FLOAT, sizes: tuple[object, ...] = ("n", 1)) -> onnx.ModelProto:
    """Reads one tensor for each column; the first one's number decides alone."""
    nodes: list[NodeProto] = []
    for place, name in enumerate(names):
        nodes.append(helper.make_node("Cast", [name], [f"cast{place}"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Reshape", [f"cast{place}", "column"], [f"column{place}"]))
    nodes += [
        helper.make_node("Mul", ["column1", "zero"], ["nothing"]),
        helper.make_node("Add", ["column0", "nothing"], ["sum"]),
        helper.make_node("Sub", ["sum", "half"], ["shifted"]),
        helper.make_node("Sigmoid", ["shifted"], ["p"]),
    ]
    weights = {"column": np.array([-1, 1]), "zero": np.array([0], np.float32), "half": np.array([1.5], np.float32)}
    return make_graph(nodes, [("p", TensorProto.FLOAT, ("n", 1))], weights, [(name, kind, sizes) for name in names])


@pytest.mark.parametrize("kind", [*FLOATS, *WHOLE])
def test_a_matrix_of_any_numbers_is_read(kind: int) -> None:
    rows = make_rows()
    if kind in WHOLE:
        rows = rows.round(0).assign(kind=lambda table: (table["wide"] + table["long"] > 4).astype(int))
    model = take(make_matrix(kind), rows)
    # Exactly in the middle of both sums neither class is larger.
    assert measure(model, rows[(rows["wide"] + rows["long"] - 4).abs() > 0.2]) > 0.98
    assert [feature.is_required for feature in model.spec.features] == [True, True]
    assert {feature.whole is not None for feature in model.spec.features} == {kind in WHOLE}


@pytest.mark.parametrize(
    ("kind", "limits"),
    [
        (TensorProto.FLOAT, None),
        (TensorProto.BOOL, (0, 1)),
        (TensorProto.UINT8, (0, 255)),
        (TensorProto.INT32, (-(2**31), 2**31 - 128)),
        (TensorProto.INT64, (-(2**63), 2**63 - 2**39)),
    ],
)
def test_a_matrix_of_whole_numbers_names_those_that_it_holds(kind: int, limits: tuple[int, int] | None) -> None:
    """The largest ones are those that float32 holds too."""
    assert Slot("x", kind, ("wide",)).whole == limits


@pytest.mark.parametrize("kind", [*FLOATS, *WHOLE, TensorProto.BOOL])
@pytest.mark.parametrize("sizes", [("n", 1), ("n",)])
def test_one_tensor_for_each_column_is_read_by_its_name(kind: int, sizes: tuple[object, ...]) -> None:
    rows = make_rows().assign(long=lambda table: (table["long"] > 2).astype(int), wide=0)
    rows["kind"] = rows["wide"] = rows["long"]
    rows.loc[::3, "long"] = 1
    model = take(make_each(["wide", "long"], kind, sizes), rows)
    answers = predict(model, rows).probabilities
    assert answers is not None
    np.testing.assert_allclose(answers[:, 1], 1 / (1 + np.exp(1.5 - rows["wide"])), atol=1e-3)


@pytest.mark.parametrize(
    ("column", "names"),
    [
        ("distance (km)", ["distance (km)", "long"]),
        ("distance (km)", ["distance__km_", "long"]),
        ("Distance.km", ["distance_km", "LONG"]),
        ("거리", ["거리", "long"]),
        ("거리", ["__", "long"]),
        ("wide", ["wide:0", "long:0"]),
        ("wide", ["long", "wide"]),
    ],
)
def test_names_are_matched_as_people_or_converters_write_them(column: str, names: list[str]) -> None:
    dataset = make_dataset(numeric=[column, "long"])
    rows = make_rows().rename(columns={"wide": column})
    decides = "long" if names[0] == "long" else column
    answers = predict(take(make_each(names), rows, dataset), rows, dataset).probabilities
    assert answers is not None
    np.testing.assert_allclose(answers[:, 1], 1 / (1 + np.exp(1.5 - rows[decides])), atol=1e-3)


@pytest.mark.parametrize(
    ("columns", "names"),
    [(["a b", "a.b"], ["a_b", "a_b_"]), (["거리", "시간"], ["__", "__2"]), (["wide", "거리"], ["wide", "시간"])],
)
def test_names_that_may_mean_two_columns_are_refused(columns: list[str], names: list[str]) -> None:
    dataset = make_dataset(numeric=columns)
    rows = make_rows().rename(columns=dict(zip(("wide", "long"), columns, strict=True)))
    with pytest.raises(ModelFileError, match=r"found the inputs .* export it with these inputs"):
        take(make_each(names), rows, dataset)


@pytest.mark.parametrize("name", ["sums", "product", "w", "p", "feature_0", "feature_1", "answer/1", "file/x"])
def test_names_of_tensors_may_be_those_of_columns_and_of_this_project(name: str) -> None:
    dataset = make_dataset(numeric=[name, "long"])
    rows = make_rows().rename(columns={"wide": name})
    model = take(make_matrix(TensorProto.FLOAT), rows, dataset)
    assert measure(model, rows, dataset) > 0.95
    taken = "x" if name in {"sums", "product", "w", "p"} else name
    assert measure(take(make_matrix(TensorProto.FLOAT, name=taken), rows, dataset), rows, dataset) > 0.95


def test_names_within_branches_are_hidden_too() -> None:
    """A branch reads a weight and a tensor of the graph around it."""
    nodes, weights = make_sums()
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(operator, ["sums", "nothing"], [f"feature_{place}"])],
            name,
            [],
            [helper.make_tensor_value_info(f"feature_{place}", TensorProto.FLOAT, None)],
        )
        for place, (name, operator) in enumerate((("then", "Add"), ("else", "Sub")))
    }
    nodes.append(helper.make_node("If", ["yes"], ["chosen"], **branches))
    weights |= {"yes": np.array(True), "nothing": np.array([0, 0], np.float32)}
    rows = make_rows()
    assert measure(take(make_graph(nodes, [("chosen", TensorProto.FLOAT, ("n", 2))], weights), rows), rows) > 0.95


def make_parcels() -> tuple[Dataset, pd.DataFrame]:
    rows = make_rows()
    rows["town"] = np.where(rows["kind"] == 1, "S", "Q")
    rows.loc[::17, "town"] = None
    return make_dataset(categorical=["town"]), rows


def make_mixed(names: tuple[str, str]) -> onnx.ModelProto:
    """A matrix of numbers and one of texts: the town S is the second class."""
    lookup = {"keys_strings": ["S", ""], "values_floats": [0.9, 0.4], "default_float": 0.1}
    nodes = [
        helper.make_node("LabelEncoder", [names[1]], ["share"], domain="ai.onnx.ml", **lookup),
        helper.make_node("ReduceMean", [names[0]], ["mean"], axes=[1]),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["share", "nothing"], ["p"]),
    ]
    inputs = [(names[0], TensorProto.FLOAT, ("n", 2)), (names[1], TensorProto.STRING, ("n", 1))]
    outputs = [("p", TensorProto.FLOAT, ("n", 1))]
    return make_graph(nodes, outputs, {"zero": np.array([0], np.float32)}, inputs, opset=13)


def test_texts_are_read_from_a_matrix_of_their_own_and_their_gaps_too() -> None:
    dataset, rows = make_parcels()
    model = take(make_mixed(("numbers", "texts")), rows, dataset)
    assert model.predict_rows([[1, 1, "S"], [1, 1, "Q"], [1, 1, None]]).values == [1, 0, 0]
    required = {feature.name: feature.is_required for feature in model.spec.features}
    assert required == {"wide": True, "long": True, "town": False}


def test_truth_values_of_texts_are_read_as_such() -> None:
    dataset = make_dataset(numeric=["wide"], categorical=["is_new"])
    rows = make_rows().assign(is_new=lambda table: np.where(table["kind"] == 1, "True", "False"))
    nodes = [
        helper.make_node("Cast", ["is_new"], ["new"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["wide", "zero"], ["nothing"]),
        helper.make_node("Add", ["new", "nothing"], ["p"]),
    ]
    inputs = [("is_new", TensorProto.BOOL, ("n", 1)), ("wide", TensorProto.FLOAT, ("n", 1))]
    proto = make_graph(nodes, [("p", TensorProto.FLOAT, ("n", 1))], {"zero": np.array([0], np.float32)}, inputs)
    assert measure(take(proto, rows, dataset), rows, dataset) == 1


@pytest.mark.parametrize("kind", [TensorProto.INT64, TensorProto.BOOL])
def test_numbers_that_a_type_does_not_hold_are_refused(kind: int) -> None:
    with pytest.raises(ModelFileError, match=r"found \S+ in the column wide, which it reads as (int64|bool)"):
        take(make_matrix(kind), make_rows())


def test_numbers_for_a_column_of_texts_are_refused() -> None:
    dataset = make_dataset(numeric=["wide"], categorical=["long"])
    with pytest.raises(ModelFileError, match="of type float, expected texts, because long is categorical"):
        take(make_each(["wide", "long"]), make_rows(), dataset)


def test_a_matrix_of_doubles_behind_a_map_is_read() -> None:
    """The maps of skl2onnx refuse doubles; the matrix before them does not."""
    rows = make_rows()
    model = LogisticRegression().fit(rows[["wide", "long"]].to_numpy(), rows["kind"])
    taken = take(to_onnx(model, rows[["wide", "long"]].to_numpy()[:1], target_opset=19), rows)
    assert taken.predict_rows([[4.0, 4.0], [0.0, 0.0]]).values == [1, 0]
    assert taken.spec.probabilities_output is not None


def make_normalized(axis: int) -> onnx.ModelProto:
    nodes, weights = make_sums()
    nodes.append(helper.make_node("Softmax", ["sums"], ["p"], axis=axis))
    return make_graph(nodes, [("p", TensorProto.FLOAT, ("n", 2))], weights)


def test_answers_that_depend_on_the_rows_beside_are_refused() -> None:
    assert measure(take(make_normalized(1), make_rows()), make_rows()) > 0.95
    with pytest.raises(ModelFileError, match="otherwise alone than among"):
        take(make_normalized(0), make_rows())


def test_small_values_that_depend_on_the_rows_beside_are_refused() -> None:
    rows = make_rows().assign(kind=lambda table: (table["wide"] + table["long"]) * 1e-4)
    nodes = [
        helper.make_node("ReduceSum", ["x", "axes"], ["sum"], keepdims=0),
        helper.make_node("ReduceMean", ["sum"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["sum", "mean"], ["distance"]),
        helper.make_node("Mul", ["distance", "small"], ["y"]),
    ]
    weights = {"axes": np.array([1]), "small": np.float32(1e-4)}
    with pytest.raises(ModelFileError, match="otherwise alone than among"):
        take(make_graph(nodes, [("y", TensorProto.FLOAT, ("n",))], weights), rows, make_dataset("regression"))


def test_answers_that_are_drawn_are_refused() -> None:
    nodes, weights = make_sums()
    nodes += [
        helper.make_node("RandomNormalLike", ["sums"], ["noise"]),
        helper.make_node("Add", ["sums", "noise"], ["scores"]),
    ]
    with pytest.raises(ModelFileError, match="otherwise alone than among"):
        take(make_graph(nodes, [("scores", TensorProto.FLOAT, ("n", 2))], weights), make_rows())


def test_precision_that_a_request_cannot_have_is_refused() -> None:
    """The file tells numbers apart that are one float32."""
    rows = make_rows().assign(wide=lambda table: 2.0**30 + table["kind"])
    nodes = [
        helper.make_node("Gather", ["x", "first"], ["wide"], axis=1),
        helper.make_node("Sub", ["wide", "middle"], ["p"]),
    ]
    weights = {"first": np.array([0]), "middle": np.array([2.0**30])}
    proto = make_graph(nodes, [("p", TensorProto.DOUBLE, ("n", 1))], weights, [("x", TensorProto.DOUBLE, ("n", 2))])
    with pytest.raises(ModelFileError, match="changed by reading the columns as float32"):
        take(proto, rows)


def test_a_file_of_old_opsets_is_read() -> None:
    """skl2onnx writes version 1 of ONNX-ML beside opset 9, and one domain twice."""
    rows = make_rows(("no", "yes"))
    _, proto = fit(rows)
    del proto.opset_import[:]
    proto.opset_import.extend([helper.make_opsetid("ai.onnx.ml", 1), *(helper.make_opsetid("", 9),) * 2])
    assert measure(take(proto, rows), rows) > 0.95
