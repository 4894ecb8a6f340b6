"""Two simple models beside every challenger, on the same holdout: a constant and a linear one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml_code.data.features import list_classes
from ml_code.datasets import Dataset
from ml_code.errors import DataCheckError, GateError, ModelFileError
from ml_code.gate import evaluation
from ml_code.gate.challenger import Challenger
from ml_code.gate.evidence import Rival
from ml_code.model_file.onnx_model import OnnxModel, Prediction
from ml_code.tracking import Tracker

LINEAR = "linear"


@dataclass(frozen=True, slots=True)
class Baselines:
    """The dummy, and the score of the linear model; None if there is none."""

    dummy: Rival
    linear_score: float | None


def measure_baselines(tracker: Tracker, challenger: Challenger) -> Baselines:
    """Measures both on the challenger's holdout.

    Raises:
        GateError: the gate's metric cannot be measured.
        TrackingError: MLflow refuses.
    """
    dummy = make_dummy(challenger.dataset, challenger.train, len(challenger.holdout))
    return Baselines(measure_rival(challenger, dummy), _measure_linear(tracker, challenger))


def make_dummy(dataset: Dataset, train: pd.DataFrame, rows: int) -> Prediction:
    """Predicts the most frequent class of the training rows, or their mean, whatever a row holds."""
    target, classes = train[dataset.target], list_classes(dataset, train)
    if classes is None:
        return Prediction([float(target.mean())] * rows, None)
    shares = np.array([np.mean(target == label) for label in classes], dtype=np.float32)
    return Prediction([classes[int(shares.argmax())]] * rows, np.tile(shares, (rows, 1)), classes)


def measure_rival(challenger: Challenger, predicted: Prediction) -> Rival:
    """Score of another model on the challenger's holdout, and the paired difference.

    Raises:
        GateError: the gate's metric cannot be measured.
    """
    dataset, truth, metric = challenger.dataset, challenger.truth, challenger.dataset.gate.metric
    clusters = challenger.clusters
    difference = evaluation.compare(dataset, truth, challenger.predicted, predicted, metric, clusters=clusters)
    score = evaluation.measure(dataset, truth, predicted)[metric]
    return Rival(score, difference.value, difference.standard_error)


def _measure_linear(tracker: Tracker, challenger: Challenger) -> float | None:
    """A linear challenger is its own baseline."""
    predicted: Prediction | None = challenger.predicted
    if challenger.run.tags.get("estimator") != LINEAR:
        content = tracker.read_baseline(challenger.run)
        predicted = _predict(challenger, content) if content else None
    if predicted is None:
        return None
    return evaluation.measure(challenger.dataset, challenger.truth, predicted)[challenger.dataset.gate.metric]


def _predict(challenger: Challenger, content: bytes) -> Prediction | None:
    try:
        return evaluation.predict_rows(challenger.dataset, OnnxModel(content), challenger.holdout)
    except (ModelFileError, DataCheckError, GateError):
        return None  # the decision does not depend on it
