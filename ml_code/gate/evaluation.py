"""Metrics of a model file on the holdout, and the difference of two files with its standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml_code.data.features import select_inputs
from ml_code.datasets import LOWER_IS_BETTER, METRICS, Dataset, Metric
from ml_code.model_file.onnx_model import OnnxModel, Prediction

BOOTSTRAP_ROUNDS = 500
CONFIDENCE = 0.95
BOOTSTRAP_SEED = 20
"""Fixed, so that the same predictions give the same decision."""

type Numbers = npt.NDArray[np.float64] | npt.NDArray[np.int64]
type Score = Callable[[Numbers, Numbers], float]


@dataclass(frozen=True, slots=True)
class Difference:
    """Difference of two scores, positive if the challenger is better, with its bootstrap standard error (same unit)."""

    value: float
    standard_error: float


def predict_rows(dataset: Dataset, model: OnnxModel, frame: pd.DataFrame) -> Prediction:
    """Predicts rows with a model file; an older file may read other columns of the same table."""
    names = [feature.name for feature in model.spec.features]
    numeric = [feature.name for feature in model.spec.features if feature.kind == "numeric"]
    like = dataset.model_copy(update={"numeric": numeric, "categorical": [n for n in names if n not in numeric]})
    inputs = select_inputs(like, frame)
    return model.predict_columns({name: inputs[name].tolist() for name in names})


def measure(dataset: Dataset, truth: pd.Series, prediction: Prediction) -> dict[str, float]:
    """Every metric of the task, by name."""
    expected, found = _as_numbers(dataset, truth, prediction.values)
    return {name: SCORES[name](expected, found) for name in METRICS[dataset.task]}


def measure_intervals(dataset: Dataset, truth: pd.Series, prediction: Prediction) -> dict[str, tuple[float, float]]:
    """Bootstrap interval of every metric of the task, by name: it covers 95 of 100 such holdouts."""
    expected, found = _as_numbers(dataset, truth, prediction.values)
    tail = (1 - CONFIDENCE) / 2
    intervals: dict[str, tuple[float, float]] = {}
    for name in METRICS[dataset.task]:
        scores = [SCORES[name](expected[rows], found[rows]) for rows in _draw_rows(len(expected))]
        intervals[name] = (float(np.quantile(scores, tail)), float(np.quantile(scores, 1 - tail)))
    return intervals


def compare(
    dataset: Dataset, truth: pd.Series, challenger: Prediction, champion: Prediction, metric: Metric
) -> Difference:
    """The paired difference on the same rows, with a bootstrap standard error.

    Each round draws rows with replacement, the same ones for both models
    (B. Efron, "Bootstrap methods: another look at the jackknife", 1979, doi:10.1214/aos/1176344552).
    """
    score = SCORES[metric]
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    expected, of_challenger = _as_numbers(dataset, truth, challenger.values)
    _, of_champion = _as_numbers(dataset, truth, champion.values)
    rounds = [
        score(expected[rows], of_challenger[rows]) - score(expected[rows], of_champion[rows])
        for rows in _draw_rows(len(expected))
    ]
    value = score(expected, of_challenger) - score(expected, of_champion)
    return Difference(sign * value, float(np.std(rounds, ddof=1)))


def count_confusions(truth: pd.Series, prediction: Prediction, labels: Sequence[str]) -> npt.NDArray[np.int64]:
    """Counts rows by true label (first axis) and predicted label (second axis); labels compare as texts."""
    place = {label: number for number, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for expected, found in zip(truth.tolist(), prediction.values, strict=True):
        counts[place[str(expected)], place[str(found)]] += 1
    return counts


def _draw_rows(count: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yields the positions of each round's rows; every call yields the same ones."""
    random = np.random.default_rng(BOOTSTRAP_SEED)
    for _ in range(BOOTSTRAP_ROUNDS):
        yield random.integers(0, count, count)


def _as_numbers(dataset: Dataset, truth: pd.Series, values: Sequence[object]) -> tuple[Numbers, Numbers]:
    """Truth and predictions as float64, or as int64 ids of labels; a label of only one side gets an id too."""
    if dataset.task == "regression":
        return truth.to_numpy(dtype=np.float64), np.asarray(values, dtype=np.float64)
    ids = {label: number for number, label in enumerate(sorted(map(str, {*truth.tolist(), *values})))}
    expected = np.array([ids[str(label)] for label in truth.tolist()], dtype=np.int64)
    return expected, np.array([ids[str(label)] for label in values], dtype=np.int64)


def _score_accuracy(truth: Numbers, found: Numbers) -> float:
    return float(np.mean(truth == found))


def _score_balanced_accuracy(truth: Numbers, found: Numbers) -> float:
    return float(np.mean([np.mean(found[truth == label] == label) for label in np.unique(truth)]))


def _score_f1_macro(truth: Numbers, found: Numbers) -> float:
    scores = []
    for label in np.union1d(truth, found):
        hits = np.sum((truth == label) & (found == label))
        scores.append(2 * hits / (np.sum(truth == label) + np.sum(found == label)))
    return float(np.mean(scores))


def _score_r2(truth: Numbers, found: Numbers) -> float:
    spread = float(np.sum((truth - np.mean(truth)) ** 2))
    return 1.0 - float(np.sum((truth - found) ** 2)) / spread if spread else 0.0


def _score_rmse(truth: Numbers, found: Numbers) -> float:
    return float(np.sqrt(np.mean((truth - found) ** 2)))


def _score_mae(truth: Numbers, found: Numbers) -> float:
    return float(np.mean(np.abs(truth - found)))


SCORES: Mapping[Metric, Score] = {
    "accuracy": _score_accuracy,
    "balanced_accuracy": _score_balanced_accuracy,
    "f1_macro": _score_f1_macro,
    "r2": _score_r2,
    "rmse": _score_rmse,
    "mae": _score_mae,
}
