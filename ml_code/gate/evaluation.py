"""Metrics of predictions on the holdout, and the difference of two models with its standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml_code.data.features import name_categories, read_as_numbers, select_inputs
from ml_code.data.frames import replace_columns
from ml_code.dataset_rules import LOWER_IS_BETTER, METRICS, Metric
from ml_code.datasets import Dataset
from ml_code.errors import GateError, ModelFileError
from ml_code.gate.evidence import QUOTED
from ml_code.model_file.onnx_model import OnnxModel, Prediction

BOOTSTRAP_ROUNDS = 500
CONFIDENCE = 0.95
BOOTSTRAP_SEED = 20
"""Fixed, so that the same predictions give the same decision."""

type Numbers = npt.NDArray[np.float64] | npt.NDArray[np.int64]
type Weights = npt.NDArray[np.float64]
type Clusters = npt.NDArray[np.int64]
"""Number of the user or group of each row, from 0 on without gaps; a row without one has a number of its own."""


@dataclass(frozen=True)
class Answers:
    """True and predicted value of each row: float64, or int64 ids of labels.

    `chances` are the probabilities of the rarer of two classes, whose id is `rarer`; None if they are not known.
    """

    truth: Numbers
    found: Numbers
    rarer: int | None = None
    chances: npt.NDArray[np.float64] | None = None

    @cached_property
    def ranking(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Positions of the rows from the largest chance down, and the last place of each equal chance."""
        if self.chances is None:
            raise GateError(
                "average_precision: found a model without probabilities of two classes, expected them; "
                "choose balanced_accuracy as the metric in the catalog's gate, or a model with probabilities"
            )
        order = np.argsort(-self.chances, kind="stable")
        ranked = self.chances[order]
        return order, np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)


type Score = Callable[[Answers, Weights], float]
"""Metric of weighted rows: a bootstrap weighs each row by the number of its draws, a slice by 0 or 1."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Difference of two scores, positive if the challenger is better, with its bootstrap standard error (same unit)."""

    value: float
    standard_error: float


def predict_rows(dataset: Dataset, model: OnnxModel, frame: pd.DataFrame) -> Prediction:
    """Predicts rows with a model file; an older file may read other columns of the same table.

    Raises:
        DataCheckError: a column that the model reads as numbers has another cell.
        ModelFileError: the model fails on the rows.
    """
    names = [feature.name for feature in model.spec.features]
    numeric = [feature.name for feature in model.spec.features if feature.kind == "numeric"]
    like = dataset.model_copy(update={"numeric": numeric, "categorical": [n for n in names if n not in numeric]})
    numbers = {name: read_as_numbers(dataset, frame[name]) for name in numeric}
    inputs = select_inputs(like, replace_columns(frame, numbers))
    columns = {name: inputs[name].tolist() for name in names}
    try:
        return model.predict_columns(columns)
    except Exception as error:  # onnxruntime's exceptions share no root but Exception
        raise ModelFileError(
            f"model file for {model.spec.dataset}: found that it fails on the holdout ({str(error)[:QUOTED]}), "
            "expected a prediction for each row; train or register it again"
        ) from error


def read_answers(dataset: Dataset, truth: pd.Series, prediction: Prediction) -> Answers:
    """Truth and predictions as numbers; a label of only one side gets an id too.

    Raises:
        GateError: a prediction of a regression is not a number.
    """
    if dataset.task == "regression":
        return Answers(truth.to_numpy(dtype=np.float64), _read_values(dataset, prediction.values))
    labels, found = [list(map(str, side)) for side in (truth.tolist(), prediction.values)]
    ids = {label: number for number, label in enumerate(sorted({*labels, *found}))}
    expected = np.array([ids[label] for label in labels], dtype=np.int64)
    rarer, chances = _find_rarer(expected, ids, prediction)
    return Answers(expected, np.array([ids[label] for label in found], dtype=np.int64), rarer, chances)


def measure(dataset: Dataset, truth: pd.Series, prediction: Prediction) -> dict[str, float]:
    """Every metric of the task, by name; average precision only of two classes with probabilities.

    Raises:
        GateError: the gate's metric cannot be measured.
    """
    answers = read_answers(dataset, truth, prediction)
    return {name: SCORES[name](answers, np.ones(len(truth))) for name in _list_metrics(dataset, answers)}


def measure_intervals(
    dataset: Dataset, truth: pd.Series, prediction: Prediction, clusters: Clusters | None = None
) -> dict[str, tuple[float, float]]:
    """Bootstrap interval of every metric of `measure`, by name: it covers 95 of 100 such holdouts.

    Rows of one group are drawn together; `clusters` is None if the dataset has no groups.
    """
    answers = read_answers(dataset, truth, prediction)
    names = _list_metrics(dataset, answers)
    rounds = [[SCORES[name](answers, weights) for name in names] for weights in _draw_weights(len(truth), clusters)]
    tail = (1 - CONFIDENCE) / 2
    lowest, highest = np.quantile(rounds, [tail, 1 - tail], axis=0)
    return {name: (float(low), float(high)) for name, low, high in zip(names, lowest, highest, strict=True)}


def compare(
    dataset: Dataset,
    truth: pd.Series,
    challenger: Prediction,
    champion: Prediction,
    metric: Metric,
    *,
    clusters: Clusters | None,
) -> Difference:
    """The paired difference on the same rows, with a bootstrap standard error.

    Each round draws rows with replacement, the same ones for both models
    (B. Efron, "Bootstrap methods: another look at the jackknife", 1979, doi:10.1214/aos/1176344552).
    Rows of one group are not independent of each other, so a round draws whole groups. `clusters` has their numbers;
    it is None if the dataset has no groups.

    Raises:
        GateError: the metric of one of the two cannot be measured.
    """
    score = SCORES[metric]
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    ours, theirs = (read_answers(dataset, truth, prediction) for prediction in (challenger, champion))
    rounds = [score(ours, weights) - score(theirs, weights) for weights in _draw_weights(len(truth), clusters)]
    whole = np.ones(len(truth))
    value = score(ours, whole) - score(theirs, whole)
    return Difference(sign * value, float(np.std(rounds, ddof=1)))


def find_clusters(dataset: Dataset, rows: pd.DataFrame) -> Clusters | None:
    """Numbers of the groups of a dataset's rows; None if it has none."""
    if dataset.group is None:
        return None
    names = name_categories(rows[dataset.group])
    return number_clusters(names.where(names != "", None).to_numpy(dtype=object))


def number_clusters(units: npt.NDArray[np.object_]) -> Clusters:
    """Numbers the users or groups; each row whose unit is None gets a number of its own."""
    is_known = np.array([unit is not None for unit in units.tolist()], dtype=bool)
    numbers = np.zeros(len(units), dtype=np.int64)
    known, places = np.unique(units[is_known].astype(str), return_inverse=True)
    numbers[is_known] = places
    numbers[~is_known] = len(known) + np.arange(int((~is_known).sum()))
    return numbers


def count_confusions(truth: pd.Series, prediction: Prediction, labels: Sequence[str]) -> npt.NDArray[np.int64]:
    """Counts rows by true label (first axis) and predicted label (second axis); labels compare as texts."""
    place = {label: number for number, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for expected, found in zip(truth.tolist(), prediction.values, strict=True):
        counts[place[str(expected)], place[str(found)]] += 1
    return counts


def is_measurable(metric: Metric, answers: Answers, weights: Weights) -> bool:
    """Whether these rows say something of a metric: r2 needs a spread, average precision a row of the rarer class.

    Otherwise both are 0, however good the predictions are.
    """
    truth = answers.truth[weights > 0]
    if metric == "r2":
        return bool(len(truth) and truth.min() < truth.max())
    # Without probabilities the measurement is refused.
    return metric != "average_precision" or answers.rarer is None or answers.rarer in truth


def _list_metrics(dataset: Dataset, answers: Answers) -> list[Metric]:
    """The gate's metric is always among them: without probabilities its measurement is refused."""
    needing = "average_precision"
    is_known = answers.chances is not None or dataset.gate.metric == needing
    return [name for name in METRICS[dataset.task] if name != needing or is_known]


def _read_values(dataset: Dataset, values: Sequence[object]) -> npt.NDArray[np.float64]:
    try:
        return np.asarray(values, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise GateError(
            f"{dataset.name}: found predictions that are not numbers ({str(error)[:QUOTED]}), expected values of "
            f"{dataset.target}; train or register a model for the regression"
        ) from error


def _find_rarer(
    expected: Numbers, ids: Mapping[str, int], prediction: Prediction
) -> tuple[int | None, npt.NDArray[np.float64] | None]:
    """Id and probabilities of the rarer of two classes; of two equal ones it is the second."""
    probabilities, classes = prediction.probabilities, prediction.classes or []
    if probabilities is None or len(classes) != 2 or np.shape(probabilities) != (len(expected), 2):
        return None, None
    known = [ids.get(str(label), -1) for label in classes]
    first, second = (int(np.sum(expected == number)) for number in known)
    column = 0 if first < second else 1
    return known[column], np.asarray(probabilities[:, column], dtype=np.float64)


def _draw_weights(rows: int, clusters: Clusters | None) -> Iterator[Weights]:
    """Yields how often each round draws each row, with all of its cluster; every call yields the same."""
    random = np.random.default_rng(BOOTSTRAP_SEED)
    count = rows if clusters is None else int(clusters.max()) + 1
    for _ in range(BOOTSTRAP_ROUNDS):
        draws = np.bincount(random.integers(0, count, count), minlength=count).astype(np.float64)
        yield draws if clusters is None else draws[clusters]


def _count(numbers: Numbers, weights: Weights, answers: Answers) -> npt.NDArray[np.float64]:
    most = int(max(answers.truth.max(), answers.found.max()))
    return np.bincount(numbers.astype(np.int64), weights, minlength=most + 1)


def _score_accuracy(answers: Answers, weights: Weights) -> float:
    return float(np.average(answers.truth == answers.found, weights=weights))


def _score_balanced_accuracy(answers: Answers, weights: Weights) -> float:
    rows = _count(answers.truth, weights, answers)
    hits = _count(answers.truth, weights * (answers.truth == answers.found), answers)
    return float(np.mean(hits[rows > 0] / rows[rows > 0]))


def _score_f1_macro(answers: Answers, weights: Weights) -> float:
    rows = _count(answers.truth, weights, answers) + _count(answers.found, weights, answers)
    hits = _count(answers.truth, weights * (answers.truth == answers.found), answers)
    return float(np.mean(2 * hits[rows > 0] / rows[rows > 0]))


def _score_average_precision(answers: Answers, weights: Weights) -> float:
    """Mean of the precision at each threshold, weighted by the growth of recall; 0 without a row of the class."""
    order, last = answers.ranking
    ranked = weights[order]
    hits = np.cumsum(ranked * (answers.truth[order] == answers.rarer))[last]
    rows = np.cumsum(ranked)[last]
    if not hits[-1]:
        return 0.0
    precision = np.divide(hits, rows, out=np.zeros_like(hits), where=rows > 0)
    return float(np.sum(np.diff(hits, prepend=0.0) * precision) / hits[-1])


def _score_r2(answers: Answers, weights: Weights) -> float:
    truth, found, counts = _select(answers, weights)
    spread = float(np.sum(counts * (truth - np.average(truth, weights=counts)) ** 2))
    return 1.0 - float(np.sum(counts * (truth - found) ** 2)) / spread if truth.min() < truth.max() else 0.0


def _score_rmse(answers: Answers, weights: Weights) -> float:
    truth, found, counts = _select(answers, weights)
    return float(np.sqrt(np.average((truth - found) ** 2, weights=counts)))


def _score_mae(answers: Answers, weights: Weights) -> float:
    truth, found, counts = _select(answers, weights)
    return float(np.average(np.abs(truth - found), weights=counts))


def _select(answers: Answers, weights: Weights) -> tuple[Numbers, Numbers, Weights]:
    """The rows that count: NaN times a weight of 0 would be NaN."""
    counts = weights > 0
    return answers.truth[counts], answers.found[counts], weights[counts]


SCORES: Mapping[Metric, Score] = {
    "accuracy": _score_accuracy,
    "balanced_accuracy": _score_balanced_accuracy,
    "f1_macro": _score_f1_macro,
    "average_precision": _score_average_precision,
    "r2": _score_r2,
    "rmse": _score_rmse,
    "mae": _score_mae,
}
