from __future__ import annotations

import json

import numpy as np
import onnx
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from ml_code.data.features import list_classes, select_inputs
from ml_code.data.holdout import Split, split_holdout
from ml_code.data.validation import check_rows
from ml_code.datasets import Dataset
from ml_code.errors import ExportError, GoldenMismatchError, TrainingError
from ml_code.families import check_hyperparameters, find_family
from ml_code.gate.evaluation import measure, predict_rows
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.model_file.spec import METADATA_KEY
from ml_code.training.export import AGREEMENT_SHARE, export_pipeline, is_same_label
from ml_code.training.fitting import fit_pipeline, rank_features
from tests.unit.ml_code.passengers import make_dataset, make_rows

FAMILIES = [
    ("sklearn", "random_forest"),
    ("sklearn", "gradient_boosting"),
    ("sklearn", "linear"),
    ("xgboost", None),
    ("lightgbm", None),
]
FEW_TREES = {"random_forest": 20, "gradient_boosting": 20, "xgboost": 20, "lightgbm": 20}


def fit(task: str, model_type: str, estimator: str | None) -> tuple[Dataset, Split, Pipeline]:
    dataset = make_dataset(task)
    split = split_holdout(dataset, check_rows(dataset, make_rows(task)).good)
    family = find_family(model_type, estimator, dataset.task)
    given = {"n_estimators": FEW_TREES[family.name]} if family.name in FEW_TREES else {}
    return dataset, split, fit_pipeline(dataset, split.train, family, check_hyperparameters(family, given))


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize(("model_type", "estimator"), FAMILIES)
def test_the_file_answers_as_its_pipeline_also_for_rows_it_has_not_seen(
    task: str, model_type: str, estimator: str | None
) -> None:
    dataset, split, pipeline = fit(task, model_type, estimator)
    classes = list_classes(dataset, split.train)
    model = OnnxModel(export_pipeline(dataset, pipeline, classes, split.train).content)
    model.replay_golden()

    answers = predict_rows(dataset, model, split.holdout)
    expected = pipeline.predict(select_inputs(dataset, split.holdout))
    if classes is None:
        np.testing.assert_allclose(answers.values, expected, rtol=1e-3, atol=1e-3)
    else:
        assert answers.values == [classes[number] for number in expected]
        assert answers.probabilities is not None
        np.testing.assert_allclose(answers.probabilities.sum(axis=1), 1, atol=1e-5)
    assert measure(dataset, split.holdout["outcome"], answers)[dataset.gate.metric] > 0.7


@pytest.mark.parametrize(("model_type", "estimator"), FAMILIES)
def test_importances_are_shares_of_the_columns(model_type: str, estimator: str | None) -> None:
    dataset, _, pipeline = fit("classification", model_type, estimator)
    shares = rank_features(dataset, pipeline)
    assert list(shares) == dataset.features
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["sex"] > shares["town"]


def test_the_same_rows_give_the_same_answers() -> None:
    (dataset, split, first), (_, _, second) = (fit("regression", "sklearn", "random_forest") for _ in range(2))
    inputs = select_inputs(dataset, split.holdout)
    np.testing.assert_array_equal(first.predict(inputs), second.predict(inputs))


def test_rows_that_a_library_refuses_are_a_training_error() -> None:
    dataset = make_dataset()
    rows = check_rows(dataset, make_rows()).good.assign(fare=np.inf)
    with pytest.raises(TrainingError, match="linear for passengers: found that the library refuses"):
        fit_pipeline(dataset, rows, find_family("sklearn", "linear", "classification"), {})


def test_gaps_and_unknown_categories_are_answered() -> None:
    dataset, split, pipeline = fit("classification", "xgboost", None)
    model = OnnxModel(export_pipeline(dataset, pipeline, ["alive", "dead"], split.train).content)
    assert set(model.predict_rows([[None, None, None, None], [30.0, 8.0, "Z", "other"]]).values) <= {"alive", "dead"}
    assert any(None in row for row in model.spec.golden.rows)
    assert not any("" in row for row in model.spec.golden.rows)


def test_a_file_that_answers_otherwise_than_its_pipeline_is_refused() -> None:
    dataset, split, pipeline = fit("classification", "sklearn", "linear")
    with pytest.raises(ExportError, match="found agreement with its pipeline in"):
        export_pipeline(dataset, _Turned(pipeline), ["alive", "dead"], split.train)


def fit_votes() -> tuple[Dataset, pd.DataFrame, Pipeline]:
    """Twenty trees on noise, of which ten vote for either class in one row of a hundred."""
    random = np.random.default_rng(0)
    rows = pd.DataFrame({"age": random.normal(size=1200).round(3), "fare": random.normal(size=1200).round(3)})
    rows["outcome"] = np.where(rows["age"] + random.normal(size=1200) * 2 > 0, "alive", "dead")
    dataset = make_dataset(categorical=[])
    family = find_family("sklearn", "random_forest", "classification")
    return dataset, rows, fit_pipeline(dataset, rows, family, {"n_estimators": 20})


def test_a_tie_of_two_classes_is_no_disagreement() -> None:
    dataset, rows, pipeline = fit_votes()
    exported = export_pipeline(dataset, pipeline, ["alive", "dead"], rows)
    answers = predict_rows(dataset, OnnxModel(exported.content), rows).values
    own = [("alive", "dead")[number] for number in pipeline.predict(select_inputs(dataset, rows))]
    assert sum(a != b for a, b in zip(answers, own, strict=True)) > (1 - AGREEMENT_SHARE) * len(rows)
    assert exported.agreement_share == 1


def test_a_tie_does_not_excuse_a_third_class() -> None:
    shares = np.array([[0.45, 0.45, 0.1], [0.45, 0.45, 0.1], [0.5, 0.49, 0.01]])
    is_as_likely = is_same_label(shares, np.array([0, 0, 0]), ["b", "c", "b"], ["a", "b", "c"])
    assert is_as_likely.tolist() == [True, False, False]


def test_a_golden_tie_is_replayed_as_either_class() -> None:
    dataset, rows, pipeline = fit_votes()
    content = export_pipeline(dataset, pipeline, ["alive", "dead"], rows).content
    for share, is_tie in ((0.5, True), (0.6, False)):
        proto = onnx.load_from_string(content)
        spec = json.loads(proto.metadata_props[0].value)
        tied = rows[np.abs(pipeline.predict_proba(select_inputs(dataset, rows))[:, 0] - share) < 1e-6]
        row = tied[dataset.features].iloc[0].tolist()
        [answer] = OnnxModel(content).predict_rows([row]).values
        other = "dead" if answer == "alive" else "alive"
        spec["golden"] = {"rows": [row], "predictions": [other], "probabilities": [[share, 1 - share]]}
        onnx.helper.set_model_props(proto, {METADATA_KEY: json.dumps(spec)})
        model = OnnxModel(proto.SerializeToString())
        if is_tie:
            model.replay_golden()
        else:
            with pytest.raises(GoldenMismatchError):
                model.replay_golden()


def test_an_altered_file_fails_its_golden_rows() -> None:
    dataset, split, pipeline = fit("classification", "sklearn", "linear")
    content = export_pipeline(dataset, pipeline, ["alive", "dead"], split.train).content
    altered = content.replace(b'"classes":["alive","dead"]', b'"classes":["dead","alive"]')
    assert altered != content
    with pytest.raises(GoldenMismatchError):
        OnnxModel(altered).replay_golden()


class _Turned(Pipeline):
    """Predicts the other class than the one that its steps export."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__(pipeline.steps)

    def predict(self, inputs: object) -> object:
        return 1 - super().predict(inputs)


def test_the_file_says_what_serving_does_with_cells_that_training_did_not_know() -> None:
    _, split, pipeline = fit("classification", "sklearn", "linear")
    for unknown in ("warn", "refuse"):
        dataset = make_dataset(unknown=unknown)
        content = export_pipeline(dataset, pipeline, list_classes(dataset, split.train), split.train).content
        assert OnnxModel(content).spec.unknown == unknown
