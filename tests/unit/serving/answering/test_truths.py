"""true and false, whole numbers and missing values in requests."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from ml_code.model_file.feed import feed_rows
from ml_code.model_file.spec import Feature, GoldenRows, ModelSpec
from serving.answering.inference import Inference
from serving.answering.rows import RowParser
from serving.errors import RequestError


def make_spec(**of_feature: Any) -> ModelSpec:
    return ModelSpec(
        dataset="ships",
        task="regression",
        target="price",
        features=[Feature(name="member", **of_feature)],
        prediction_output="price",
        golden=GoldenRows(rows=[], predictions=[]),
    )


FLAG = make_spec(kind="numeric", is_flag=True)
NUMBER = make_spec(kind="numeric")
TRUTHS = make_spec(kind="categorical", categories=["False", "True"])
ONES = make_spec(kind="categorical", categories=["0", "1"])
PORTS = make_spec(kind="categorical", categories=["busan", "jeju"])
OLD = make_spec(kind="categorical")


def predict(spec: ModelSpec, *cells: Any) -> list[Any]:
    """What the model is fed, and the rows of the warnings."""
    return _feed(spec, RowParser(spec).parse(json.dumps([[cell] for cell in cells]).encode()))


def infer(spec: ModelSpec, datatype: str, *cells: Any) -> list[Any]:
    tensor = {"name": "member", "shape": [len(cells)], "datatype": datatype, "data": cells}
    return _feed(spec, Inference(spec, RowParser(spec)).parse(json.dumps({"inputs": [tensor]}).encode()).read)


def _feed(spec: ModelSpec, read: Any) -> list[Any]:
    fed = feed_rows(spec.features, read.rows)["member"].reshape(-1).tolist()
    return [fed, [warning.row for warning in read.warnings]]


@pytest.mark.parametrize(
    ("spec", "fed"),
    [(FLAG, [1, 0]), (TRUTHS, ["True", "False"]), (ONES, ["1", "0"]), (OLD, ["True", "False"])],
    ids=["flag", "true and false", "1 and 0", "older file"],
)
def test_true_and_false_mean_what_they_meant_in_training(spec: ModelSpec, fed: list[Any]) -> None:
    assert predict(spec, True, False) == infer(spec, "BOOL", True, False) == [fed, []]


@pytest.mark.parametrize("text", ["true", "TRUE", " True "])
def test_the_text_true_is_the_truth_value(text: str) -> None:
    assert predict(TRUTHS, text) == infer(TRUTHS, "BYTES", text) == [["True"], []]
    assert predict(ONES, text) == [["1"], []]


@pytest.mark.parametrize("spec", [NUMBER, PORTS], ids=["number", "port"])
def test_true_is_refused_where_training_had_none(spec: ModelSpec) -> None:
    for send in (lambda: predict(spec, True), lambda: infer(spec, "BOOL", True)):
        with pytest.raises(RequestError) as caught:
            send()
        assert "found true, expected" in caught.value.detail[0].problem


def test_whole_numbers_name_categories_up_to_what_json_holds() -> None:
    assert predict(OLD, 2**53 - 1, 1.0 - 2**53, 1.0)[0] == [str(2**53 - 1), str(1 - 2**53), "1"]
    for number in (2**53, -(2**53), 2**64 - 1, 2.0**53, 1e300):
        with pytest.raises(RequestError) as caught:
            predict(OLD, number)
        assert "send it as text, it is not below 2**53" in caught.value.detail[0].problem
    assert predict(OLD, str(2**53 + 1))[0] == ["9007199254740993"]


@pytest.mark.parametrize("has_missing", [True, None, False])
@pytest.mark.parametrize("cell", [None, "", "  "])
def test_a_missing_category_is_a_warning_where_training_had_none(cell: str | None, has_missing: bool | None) -> None:
    warned = [0, 1] if has_missing is False else []
    for categories in (["a"], None):
        spec = make_spec(kind="categorical", categories=categories, has_missing=has_missing)
        assert predict(spec, cell, cell) == [["", ""], warned]
        assert predict(spec, cell) == [[""], warned[:1]]


@pytest.mark.parametrize("kind", ["numeric", "categorical"])
def test_a_missing_cell_is_refused_where_the_model_does_not_read_one(kind: str) -> None:
    spec = make_spec(kind=kind, categories=["1"] if kind == "categorical" else None, is_required=True)
    assert predict(spec, 1)[1] == []
    for missing in (None, "  ") if kind == "categorical" else (None,):
        for cells in ((missing,), (1, missing)):
            with pytest.raises(RequestError) as caught:
                predict(spec, *cells)
            [problem] = caught.value.detail
            assert (problem.row, problem.field) == (len(cells) - 1, "member")
            assert "found no value, which this model does not read; send a" in problem.problem


@pytest.mark.parametrize(("minimum", "maximum", "warned"), [(0, 1, [0, 3]), (0, None, [0]), (None, 1, [3])])
def test_each_end_of_a_range_may_be_open(minimum: float | None, maximum: float | None, warned: list[int]) -> None:
    spec = make_spec(kind="numeric", minimum=minimum, maximum=maximum)
    assert predict(spec, -0.5, 0, 1, 1.5, None)[1] == warned
    assert [number for number, cell in enumerate((-0.5, 0, 1, 1.5)) if predict(spec, cell)[1]] == warned


def test_a_column_of_nulls_is_a_column_of_gaps() -> None:
    assert np.isnan(predict(NUMBER, None, None, None)[0]).all()


@pytest.mark.parametrize("cell", ["NaN", "Infinity", "-Infinity", "nan", "-inf"])
def test_what_json_has_no_word_for_is_sent_as_null(cell: str) -> None:
    inference = Inference(NUMBER, RowParser(NUMBER))
    tensor = f'{{"inputs": [{{"name": "x", "shape": [1], "datatype": "FP32", "data": [{cell}]}}]}}'
    for send in (lambda: RowParser(NUMBER).parse(f"[[{cell}]]".encode()), lambda: inference.parse(tensor.encode())):
        with pytest.raises(RequestError) as caught:
            send()
        assert caught.value.status == 400
        assert f"found {cell} at line 1 column" in caught.value.message
        assert "send null where a value is missing" in caught.value.message


@pytest.mark.parametrize("body", ['[["NaN" 1]]', "[[Nano]]", "[[1,]]", "[[", "-", '[["서울 NaN", ]]'])
def test_other_mistakes_in_json_are_not_taken_for_missing_values(body: str) -> None:
    with pytest.raises(RequestError, match="expected a JSON array of rows"):
        RowParser(NUMBER).parse(body.encode())


def test_names_of_fields_are_the_same_in_both_unicode_forms() -> None:
    spec = make_spec(kind="numeric").model_copy(update={"features": [Feature(name="나이", kind="numeric")]})
    decomposed = "\u1102\u1161\u110b\u1175"
    assert RowParser(spec).parse(json.dumps([{decomposed: 3}]).encode()).rows == [[3]]
    tensor = {"name": f" {decomposed}", "shape": [1], "datatype": "INT8", "data": [3]}
    assert Inference(spec, RowParser(spec)).parse(json.dumps({"inputs": [tensor]}).encode()).read.rows == [[3]]
