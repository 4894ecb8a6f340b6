"""A world that changes, and the whole choice of a retraining in it, without servers; every draw has a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.pipeline import Pipeline

from ml_code.data.features import list_classes, select_inputs
from ml_code.data.holdout import Split, split_holdout
from ml_code.data.live_rows import LIVE_ID, PREDICTED_AT
from ml_code.datasets import Dataset
from ml_code.families import find_family
from ml_code.gate import evaluation
from ml_code.gate.baselines import make_dummy
from ml_code.gate.decision import Decision
from ml_code.gate.evidence import Comparison, Evidence, Rival
from ml_code.model_file.onnx_model import Prediction
from ml_code.monitoring.retraining.choice import choose_mix, divide_holdout, narrow_prediction
from ml_code.monitoring.retraining.verdict import OldRows, judge_drift
from ml_code.training.fitting import fit_pipeline
from ml_code.training.mixes import list_mixes, mix_rows
from ml_code.training.plans import Mix, MixName

SINCE = 1000.0

DATASET = Dataset.model_validate(
    {
        "name": "world",
        "task": "classification",
        "target": "label",
        "numeric": ["a", "b", "c", "d"],
        "source": {"kind": "file", "path": "world.csv"},
        "gate": {"metric": "accuracy", "threshold": 0.6},
    }
)

type Labels = npt.NDArray[np.int64]
type World = Callable[[pd.DataFrame, np.random.Generator], Labels]


def make_world(coefficient: float) -> World:
    """A world in which the first feature counts by this coefficient."""

    def label(frame: pd.DataFrame, random: np.random.Generator) -> Labels:
        signal = coefficient * frame["a"] + frame["b"] - 0.5 * frame["c"] + random.normal(0, 0.5, len(frame))
        return (signal > 0).to_numpy().astype(np.int64)

    return label


def draw_rows(world: World, rows: int, seed: int, *, shift: float = 0.0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(random.normal(shift, 1.0, (rows, 4)), columns=DATASET.numeric)
    return frame.assign(label=world(frame, random))


def mark_live(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    names = [f"{seed:016x}{number:016x}-0" for number in range(len(frame))]
    return frame.assign(**{LIVE_ID: names, PREDICTED_AT: SINCE})


@dataclass(frozen=True)
class Outcome:
    """The decision, the chosen mix, and the gain of accuracy on fresh rows of the new world."""

    decision: Decision
    mix: MixName
    gain: float


def retrain(old: pd.DataFrame, new: pd.DataFrame, fresh: pd.DataFrame, *, unattended: bool = False) -> Outcome:
    """Champion on the old rows; the three mixes on both; choice and verdict as in a retraining."""
    split = split_holdout(DATASET, pd.concat([old, new], ignore_index=True))
    champion = _fit(split_holdout(DATASET, old).train, None)
    names = list_mixes(DATASET, split.train, SINCE)
    models = {name: _fit(split.train, Mix(name, SINCE)) for name in names}
    sides = divide_holdout(split.holdout, SINCE)
    predicted = {name: _predict(model, split.holdout) for name, model in models.items()}
    truth = split.holdout.loc[sides.is_newest, "label"]
    newest = {name: narrow_prediction(found, sides.is_newest) for name, found in predicted.items()}
    mix = choose_mix(DATASET, truth, newest, None)
    decision = _judge(split, sides.is_newest, predicted[mix], _predict(champion, split.holdout), unattended=unattended)
    ours, theirs = (np.mean(_predict(model, fresh).values == fresh["label"]) for model in (models[mix], champion))
    return Outcome(decision, mix, float(ours - theirs))


def _judge(
    split: Split, is_newest: npt.NDArray[np.bool_], ours: Prediction, theirs: Prediction, *, unattended: bool
) -> Decision:
    newest, old = (_compare(split, side, ours, theirs) for side in (is_newest, ~is_newest))
    dummy = make_dummy(DATASET, split.train, len(split.holdout))
    evidence = Evidence(
        score=newest.score + newest.difference,
        holdout_rows=int(is_newest.sum()),
        dummy=_compare(split, is_newest, ours, dummy),
    )
    comparison = Comparison("1", newest.score, newest.difference, newest.standard_error)
    older = OldRows(old.score + old.difference, old.score, old.difference, int((~is_newest).sum()))
    return judge_drift("world", DATASET.gate, evidence, comparison, older, unattended=unattended)


def _compare(split: Split, side: npt.NDArray[np.bool_], ours: Prediction, theirs: Prediction) -> Rival:
    truth = split.holdout.loc[side, "label"]
    first, second = (narrow_prediction(found, side) for found in (ours, theirs))
    difference = evaluation.compare(DATASET, truth, first, second, "accuracy", clusters=None)
    score = evaluation.measure(DATASET, truth, second)["accuracy"]
    return Rival(score, difference.value, difference.standard_error)


def _fit(train: pd.DataFrame, mix: Mix | None) -> Pipeline:
    mixed = mix_rows(train, mix)
    family = find_family("sklearn", "random_forest", "classification")
    return fit_pipeline(DATASET, mixed.rows, family, {"n_estimators": 40}, weights=mixed.weights)


def _predict(model: Pipeline, frame: pd.DataFrame) -> Prediction:
    inputs = select_inputs(DATASET, frame)
    classes = list_classes(DATASET, frame)
    return Prediction([int(found) for found in model.predict(inputs)], model.predict_proba(inputs), classes)
