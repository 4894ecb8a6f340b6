"""What the answers of a foreign file mean, on files that converters write and on graphs built node by node."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ml_code.errors import ModelFileError
from ml_code.gate.imports.readings import Answers
from tests.unit.ml_code.gate.imports.foreign import (
    COLUMNS,
    fit,
    make_dataset,
    make_graph,
    make_rows,
    make_sigmoid,
    make_sums,
    measure,
    predict,
    take,
)

EVERY_LABEL = [(0, 1), (1, 2), (-1, 1), (1, 2, 3), (3, 4, 5, 6, 7, 8), ("no", "yes"), ("b", "a"), (0, 2), (10, 0, 5)]


@pytest.mark.parametrize("zipmap", [True, False])
@pytest.mark.parametrize("labels", EVERY_LABEL)
def test_a_classifier_of_scikit_learn_answers_its_own_labels_and_probabilities(
    labels: Sequence[object], zipmap: bool
) -> None:
    rows = make_rows(labels)
    model, proto = fit(rows, options={"zipmap": zipmap})
    taken = predict(take(proto, rows), rows)
    assert taken.values == model.predict(rows[COLUMNS].to_numpy(np.float32)).tolist()
    assert taken.probabilities is not None
    np.testing.assert_allclose(taken.probabilities, model.predict_proba(rows[COLUMNS].to_numpy(np.float32)), atol=1e-4)


def test_text_labels_in_another_order_than_sorted_are_put_in_order() -> None:
    rows = make_rows(("b", "a"))
    nodes, weights = make_sums()
    ends = [
        helper.make_node("Softmax", ["sums"], ["shares"], axis=1),
        helper.make_node("ArgMax", ["sums"], ["place"], axis=1, keepdims=0),
        helper.make_node("ArrayFeatureExtractor", ["classes", "place"], ["label"], domain="ai.onnx.ml"),
    ]
    names = np.array(["b", "a"], dtype=object)
    outputs = [("flat", TensorProto.STRING, ("n",)), ("shares", TensorProto.FLOAT, ("n", 2))]
    flat = helper.make_node("Reshape", ["label", "all"], ["flat"])
    proto = make_graph([*nodes, *ends, flat], outputs, {**weights, "classes": names, "all": np.array([-1])})
    model = take(proto, rows)
    assert measure(model, rows) > 0.95
    answer = predict(model, rows)
    assert answer.probabilities is not None
    likely = answer.probabilities.argmax(axis=1)
    is_tie = np.abs(answer.probabilities[:, 0] - 0.5) < 1e-5
    assert [("a", "b")[place] for place in likely[~is_tie]] == np.array(answer.values)[~is_tie].tolist()


@pytest.mark.parametrize("labels", [(1, 2, 3), ("no", "maybe", "yes"), (0, 1, 2)])
def test_positions_from_the_largest_number_are_classes_in_sorted_order(labels: Sequence[object]) -> None:
    ordered = sorted(labels, key=str)
    rows = make_rows(ordered)
    nodes, weights = make_sums(count=3)
    nodes.append(helper.make_node("ArgMax", ["sums"], ["place"], axis=1, keepdims=1))
    model = take(make_graph(nodes, [("place", TensorProto.INT64, ("n", 1))], weights), rows)
    assert measure(model, rows) > 0.9
    assert model.spec.probabilities_output is None


def make_ones_and_twos(kind: int) -> onnx.ModelProto:
    """Answers 1 and 2, without a list of labels."""
    nodes, weights = make_sums()
    nodes += [
        helper.make_node("ArgMax", ["sums"], ["place"], axis=1, keepdims=0),
        helper.make_node("Add", ["place", "one"], ["whole"]),
        helper.make_node("Cast", ["whole"], ["label"], to=kind),
    ]
    return make_graph(nodes, [("label", kind, ("n",))], {**weights, "one": np.array([1])})


@pytest.mark.parametrize("kind", [TensorProto.INT64, TensorProto.INT32, TensorProto.FLOAT, TensorProto.DOUBLE])
def test_answers_that_may_be_labels_or_positions_need_a_word(kind: int) -> None:
    rows = make_rows((1, 2, 3))
    proto = make_ones_and_twos(kind)
    expected = r"labels of kind \(right in \d+% .* add --answers labels or --answers positions"
    with pytest.raises(ModelFileError, match=expected):
        take(proto, rows)
    meanings: list[tuple[Answers, set[int]]] = [("labels", {1, 2}), ("positions", {2, 3})]
    for answers, labels in meanings:
        assert set(predict(take(proto, rows, answers=answers), rows).values) == labels


def fit_columns(labels: Sequence[object]) -> onnx.ModelProto:
    """Returns probabilities alone; the labels of their columns are in the graph."""
    _, proto = fit(make_rows(labels), options={"zipmap": False})
    del proto.graph.output[0]
    return proto


@pytest.mark.parametrize(
    ("labels", "listed"),
    [(("no", "yes"), ("ja", "nein")), ((0, 1, 2), (1, 2, 3))],
)
def test_columns_for_labels_of_another_dataset_are_refused(labels: Sequence[object], listed: Sequence[object]) -> None:
    with pytest.raises(
        ModelFileError, match=rf"for the labels {listed[0]}, .* expected labels of kind \({labels[0]}, "
    ):
        take(fit_columns(listed), make_rows(labels))


def test_columns_for_positions_are_classes_in_sorted_order() -> None:
    rows = make_rows(("no", "yes"))
    assert measure(take(fit_columns((0, 1)), rows), rows) > 0.95


def test_exchanged_probabilities_of_rare_classes_are_left_out() -> None:
    rows = make_rows()
    rows["kind"] = np.array(["a", "b", "c"])[np.digitize(rows["wide"] + rows["long"], [6.4, 7.2])]
    nodes, weights = make_sums(count=3)
    texts = {"keys_int64s": [0, 1, 2, 9], "values_strings": ["a", "b", "c", ""]}
    nodes += [
        helper.make_node("ArgMax", ["sums"], ["place"], axis=1, keepdims=0),
        helper.make_node("LabelEncoder", ["place"], ["label"], domain="ai.onnx.ml", **texts),
        helper.make_node("Gather", ["sums", "exchanged"], ["others"], axis=1),
        helper.make_node("Softmax", ["others"], ["shares"], axis=1),
    ]
    weights |= {"b": np.array([0, -6.4, -13.6], np.float32), "exchanged": np.array([0, 2, 1])}
    outputs = [("label", TensorProto.STRING, ("n",)), ("shares", TensorProto.FLOAT, ("n", 3))]
    model = take(make_graph(nodes, outputs, weights), rows)
    assert set(predict(model, rows).values) == {"a", "b", "c"}
    assert model.spec.probabilities_output is None


def test_probabilities_of_ordered_classes_are_kept() -> None:
    """Proportional odds: in rows of the middle answer, another class is further above its mean than the middle one."""
    rows = make_rows(("a", "b", "c"))
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"]),
        helper.make_node("Sub", ["cuts", "mean"], ["odds"]),
        helper.make_node("Sigmoid", ["odds"], ["below"]),
        helper.make_node("Pad", ["below", "right", "one"], ["upper"]),
        helper.make_node("Pad", ["below", "left"], ["lower"]),
        helper.make_node("Sub", ["upper", "lower"], ["shares"]),
        helper.make_node("ArgMax", ["shares"], ["place"], axis=1, keepdims=0),
    ]
    weights = {"axes": np.array([1]), "cuts": np.array([0.45, 2.05], np.float32), "one": np.float32(1)}
    weights |= {"right": np.array([0, 0, 0, 1]), "left": np.array([0, 1, 0, 0])}
    outputs = [("place", TensorProto.INT64, ("n",)), ("shares", TensorProto.FLOAT, ("n", 3))]
    answer = predict(take(make_graph(nodes, outputs, weights), rows), rows)
    assert answer.probabilities is not None
    assert [("a", "b", "c")[place] for place in answer.probabilities.argmax(axis=1)] == answer.values
    assert set(answer.values) == {"a", "b", "c"}


def test_a_word_that_does_not_fit_is_refused() -> None:
    rows = make_rows((1, 2))
    assert set(predict(take(make_ones_and_twos(TensorProto.INT64), rows), rows).values) == {1, 2}
    with pytest.raises(ModelFileError, match=r"found the answers 1, 2, expected labels of kind \(1, 2\)"):
        take(make_ones_and_twos(TensorProto.INT64), rows, answers="positions")


def test_labels_of_another_dataset_are_refused() -> None:
    rows = make_rows(("no", "yes"))
    _, proto = fit(make_rows(("nein", "ja")))
    with pytest.raises(ModelFileError, match=r"found the answers ja, nein, expected labels of kind \(no, yes\)"):
        take(proto, rows)


@pytest.mark.parametrize("sizes", [("n", "m"), ("n", 1), (None, None)])
@pytest.mark.parametrize("labels", [(0, 1), (1, 2), ("no", "yes")])
def test_one_column_is_the_probability_of_the_second_class(labels: Sequence[object], sizes: Sequence[object]) -> None:
    rows = make_rows(labels)
    model = take(make_sigmoid(sizes), rows)
    assert measure(model, rows) > 0.95
    answer = model.predict_rows([[4.0, 4.0], [0.0, 0.0]])
    assert answer.values == [labels[1], labels[0]]
    assert answer.probabilities is not None
    np.testing.assert_allclose(answer.probabilities, [[0, 1], [1, 0]], atol=1e-4)


def test_one_flat_column_is_the_probability_of_the_second_class_too() -> None:
    proto = make_sigmoid()
    proto.graph.node.append(helper.make_node("Reshape", ["p", "all"], ["flat"]))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1]), "all"))
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("flat", TensorProto.FLOAT, ["n"]))
    assert measure(take(proto, make_rows()), make_rows()) > 0.95


def test_one_column_of_logits_is_refused_with_a_next_step() -> None:
    proto = make_sigmoid()
    proto.graph.output[0].name = "sum"
    with pytest.raises(ModelFileError, match=r"found one column sum with numbers from -.*put a sigmoid behind it"):
        take(proto, make_rows())


def test_one_column_for_three_classes_is_refused() -> None:
    with pytest.raises(ModelFileError, match=r"expected labels of kind .* export it with its other columns"):
        take(make_sigmoid(), make_rows((0, 1, 2)))


def test_logits_choose_a_class_and_are_no_probabilities() -> None:
    rows = make_rows((0, 1, 2))
    nodes, weights = make_sums(count=3)
    model = take(make_graph(nodes, [("sums", TensorProto.FLOAT, ("n", 3))], weights), rows)
    assert measure(model, rows) > 0.9
    assert model.spec.probabilities_output is None


def test_probabilities_that_are_a_rounding_below_zero_are_served_as_zero() -> None:
    nodes = [
        helper.make_node("ReduceSum", ["x", "axes"], ["sum"], keepdims=1),
        helper.make_node("Greater", ["sum", "four"], ["is_large"]),
        helper.make_node("Cast", ["is_large"], ["second"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["second", "more"], ["rounded"]),
        helper.make_node("Sub", ["one", "rounded"], ["first"]),
        helper.make_node("Concat", ["first", "rounded"], ["shares"], axis=1),
        helper.make_node("ArgMax", ["shares"], ["label"], axis=1, keepdims=0),
    ]
    weights = {"axes": np.array([1]), "four": np.float32(4), "more": np.float32(1 + 1.2e-7), "one": np.float32(1)}
    outputs = [("label", TensorProto.INT64, ("n",)), ("shares", TensorProto.FLOAT, ("n", 2))]
    rows = make_rows()
    found = predict(take(make_graph(nodes, outputs, weights), rows), rows).probabilities
    assert found is not None
    assert found.min() == 0


def test_probabilities_of_other_classes_than_the_answers_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    rows = make_rows()
    nodes, weights = make_sums()
    nodes += [
        helper.make_node("ArgMax", ["sums"], ["place"], axis=1, keepdims=0),
        helper.make_node("Neg", ["sums"], ["less"]),
        helper.make_node("Softmax", ["less"], ["shares"], axis=1),
    ]
    outputs = [("place", TensorProto.INT64, ("n",)), ("shares", TensorProto.FLOAT, ("n", 2))]
    model = take(make_graph(nodes, outputs, weights), rows)
    assert model.spec.probabilities_output is None
    assert "found no probabilities of the classes" in caplog.text


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.INT64])
@pytest.mark.parametrize("sizes", [("n",), ("n", 1)])
def test_a_regression_answers_values_of_any_type_and_shape(kind: int, sizes: Sequence[object]) -> None:
    dataset = make_dataset("regression")
    rows = make_rows().assign(kind=lambda table: table["wide"] + table["long"])
    shape = np.array([-1] * len(sizes[:1]) + [1] * len(sizes[1:]))
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["all"]),
        helper.make_node("Cast", ["all"], ["typed"], to=kind),
        helper.make_node("Reshape", ["typed", "shape"], ["y"]),
    ]
    weights = {"w": np.ones((2, 1), np.float32), "shape": shape}
    model = take(make_graph(nodes, [("y", kind, sizes)], weights), rows, dataset)
    found = np.array(predict(model, rows, dataset).values)
    np.testing.assert_allclose(found, rows["kind"], atol=1 if kind == TensorProto.INT64 else 0.01)


def test_a_regression_of_two_values_is_refused() -> None:
    nodes, weights = make_sums()
    proto = make_graph(nodes, [("sums", TensorProto.FLOAT, ("n", 2))], weights)
    rows = make_rows().assign(kind=lambda table: table["wide"] + 0.5)
    with pytest.raises(ModelFileError, match="expected float values for the regression shapes, one for each row"):
        take(proto, rows, make_dataset("regression"))


def test_a_classifier_is_refused_for_a_regression() -> None:
    rows = make_rows((1, 2, 3))
    _, proto = fit(rows)
    with pytest.raises(ModelFileError, match="with labels, expected float values for the regression shapes"):
        take(proto, rows.astype({"kind": "float64"}), make_dataset("regression"))
