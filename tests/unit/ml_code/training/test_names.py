"""Names of columns and labels are people's: none of them reaches a library or changes an answer."""

from __future__ import annotations

import json
from functools import cache

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_code.cells import clean_text
from ml_code.data.features import list_classes
from ml_code.data.validation import check_rows
from ml_code.datasets import Dataset
from ml_code.families import check_hyperparameters, find_family
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.model_file.spec import METADATA_KEY, Value
from ml_code.reading.rules import LONGEST_NAME
from ml_code.training.export import export_pipeline, seal
from ml_code.training.fitting import fit_pipeline, rank_features
from tests.unit.ml_code.passengers import make_dataset, make_rows
from tests.unit.ml_code.training.test_export import FAMILIES, FEW_TREES

ODD = [
    ["distance (km)", "나이", "label", "probabilities"],
    ["x", "variable", "output_label", "output_probability"],
    ["feature_1", "feature_0", "feature_3", "feature_2"],
    ["a.b", "a", "\"quoted\" 'twice'", "🙂"],
    ["n" * LONGEST_NAME, "1st", '{"json": [1, 2]}', "a, b; c"],
    ["input_id", "prediction", "model", "merged_columns"],
    ["probability_alive", "version", "$price$", "<b>&amp;</b>"],
    ["categorical__town", "numeric__age", "town_S", "town"],
]
"""Names that a tensor, a column of the answers, a path into Parquet or a markup has too."""

ROWS: list[list[Value]] = [[30.0, 8.0, "S", "female"], [None, 70.5, None, "male"], [1.0, 0.0, "Q", "other"]]
PLAIN = ["age", "fare", "town", "sex"]
NAMES = st.text(min_size=1, max_size=30).map(clean_text).filter(lambda name: name != "" and name.isprintable())


def rename(names: list[str]) -> Dataset:
    return make_dataset(numeric=names[:2], categorical=names[2:])


@cache
def train_plain(model_type: str, estimator: str | None) -> OnnxModel:
    return train(PLAIN, model_type, estimator)


def train(names: list[str], model_type: str, estimator: str | None) -> OnnxModel:
    dataset = rename(names)
    rows = check_rows(dataset, make_rows(rows=200).rename(columns=dict(zip(PLAIN, names, strict=True)))).good
    family = find_family(model_type, estimator, dataset.task)
    few = {"n_estimators": 5} if family.name in FEW_TREES else {}
    pipeline = fit_pipeline(dataset, rows, family, check_hyperparameters(family, few))
    assert list(rank_features(dataset, pipeline)) == names
    return OnnxModel(export_pipeline(dataset, pipeline, list_classes(dataset, rows), rows).content)


@pytest.mark.parametrize("names", ODD, ids=lambda names: names[0][:20])
@pytest.mark.parametrize(("model_type", "estimator"), FAMILIES)
def test_a_name_of_a_column_changes_no_answer(names: list[str], model_type: str, estimator: str | None) -> None:
    odd, plain = train(names, model_type, estimator), train_plain(model_type, estimator)
    odd.replay_golden()
    assert [feature.name for feature in odd.spec.features] == names
    assert odd.predict_rows(ROWS).values == plain.predict_rows(ROWS).values
    assert odd.predict_rows(ROWS).probabilities == pytest.approx(plain.predict_rows(ROWS).probabilities)


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    rows = check_rows(make_dataset(), make_rows(rows=200)).good
    pipeline = fit_pipeline(make_dataset(), rows, find_family("sklearn", "linear", "classification"), {})
    return onnx.load_from_string(export_pipeline(make_dataset(), pipeline, ["alive", "dead"], rows).content)


@given(names=st.lists(NAMES.filter(lambda name: name != "outcome"), min_size=4, max_size=4, unique=True))
@settings(max_examples=50, deadline=None)
def test_one_graph_answers_alike_under_any_names(graph: onnx.ModelProto, names: list[str]) -> None:
    rows = make_rows(rows=50).rename(columns=dict(zip(PLAIN, names, strict=True)))
    inputs = {name: f"feature_{number}" for number, name in enumerate(names)}
    model = OnnxModel(seal(rename(names), graph, ["alive", "dead"], rows, inputs))
    columns = {name: [row[number] for row in ROWS] for number, name in enumerate(names)}
    assert model.predict_columns(columns).values == OnnxModel(graph.SerializeToString()).predict_rows(ROWS).values


def test_the_spec_describes_the_rows_of_the_training() -> None:
    checks = {"columns": {"fare": {"minimum": 0, "maximum": 900}, "age": {"log": False}, "sex": {"log": False}}}
    rows = make_rows(rows=200).assign(flag=(["0", "1.0"] * 100))
    dataset = make_dataset(numeric=["age", "fare", "flag"], checks=checks)
    good = check_rows(dataset, rows).good
    pipeline = fit_pipeline(dataset, good, find_family("sklearn", "linear", "classification"), {})
    age, fare, flag, town, sex = OnnxModel(
        export_pipeline(dataset, pipeline, ["alive", "dead"], good).content
    ).spec.features
    assert (fare.minimum, fare.maximum, age.minimum, age.maximum) == (0, 900, None, None)
    assert [feature.is_flag for feature in (age, fare, flag, town, sex)] == [False, False, True, False, False]
    assert [feature.has_missing for feature in (age, fare, flag, town, sex)] == [True, False, False, True, False]
    assert [feature.log for feature in (age, fare, flag, town, sex)] == [False, True, True, True, False]
    assert (age.categories, town.categories, sex.categories) == (None, ["C", "Q", "S"], ["female", "male"])


def test_a_file_from_before_the_identifiers_opens_and_answers(graph: onnx.ModelProto) -> None:
    older = onnx.ModelProto()
    older.CopyFrom(graph)
    spec = json.loads(older.metadata_props[0].value)
    ids = {feature["input"]: feature["name"] for feature in spec["features"]}
    spec["features"] = [{"name": feature["name"], "kind": feature["kind"]} for feature in spec["features"]]
    onnx.helper.set_model_props(older, {METADATA_KEY: json.dumps(spec)})
    for node in older.graph.input:
        node.name = ids[node.name]
    for node in older.graph.node:
        node.input[:] = [ids.get(name, name) for name in node.input]
    model = OnnxModel(older.SerializeToString())
    model.replay_golden()
    assert model.predict_rows(ROWS).values == OnnxModel(graph.SerializeToString()).predict_rows(ROWS).values


def test_a_category_that_begins_like_another_column_counts_for_its_own() -> None:
    """`town` with the text `name_S` and `town_name` with `S` have one name after the encoding."""
    dataset = make_dataset(numeric=["age"], categorical=["town", "town_name"])
    rows = make_rows(rows=200).assign(town=["name_S", "x"] * 100)
    rows["town_name"] = rows["sex"].map({"female": "S", "male": "x"})
    good = check_rows(dataset, rows).good
    pipeline = fit_pipeline(dataset, good, find_family("sklearn", "random_forest", "classification"), {})
    shares = rank_features(dataset, pipeline)
    assert shares["town_name"] > 0.6
    assert shares["town"] < 0.1
