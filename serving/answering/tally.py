"""Counts of one answer for the figures of its version: rows, rows that are not a number, and the predictions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from ml_code.model_file.onnx_model import Prediction
from ml_code.model_file.spec import ModelSpec
from serving.answering.cells import Kind

OTHER = "other"
"""Class of a label that the spec does not know: a file that makes up labels must not grow the figures."""


class Tally(NamedTuple):
    """The figures of one answer; sum and squares are over the values that are numbers, warnings are cells by kind."""

    rows: int
    nan_rows: int
    classes: Mapping[str, int]
    value_sum: float = 0.0
    value_squares: float = 0.0
    warnings: Mapping[Kind, int] = {}


class Tallier:
    """Counts the answers of one model; one row, which most requests have, costs a look-up.

    >>> Tallier(spec).count(model.predict_rows([[5.1, 3.5, 1.4, 0.2]]))
    Tally(rows=1, nan_rows=0, classes={'0': 1}, value_sum=0.0, value_squares=0.0, warnings={})
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._is_classifier = spec.task == "classification"
        labels = spec.classes or spec.golden.predictions
        self._names = {label: str(label) for label in labels}
        self._single = {label: Tally(1, 0, {name: 1}) for label, name in self._names.items()}

    def count(self, prediction: Prediction, warnings: Mapping[Kind, int] | None = None) -> Tally:
        """Counts the rows of one answer, and the warnings that it has."""
        tally = self._count_classes(prediction) if self._is_classifier else _sum_values(prediction.values)
        return tally._replace(warnings=warnings) if warnings else tally

    def _count_classes(self, prediction: Prediction) -> Tally:
        values, probabilities = prediction.values, prediction.probabilities
        # A list of a few numbers is summed four times as fast as an array of them.
        if len(values) == 1 and (probabilities is None or math.isfinite(sum(probabilities[0].tolist()))):
            single = self._single.get(values[0])
            if single is not None:
                return single
        nan_rows = 0
        if probabilities is not None and not np.isfinite(probabilities).all():
            nan_rows = int((~np.isfinite(probabilities).all(axis=1)).sum())
        counted: Counter[str] = Counter()
        for label, rows in _count(prediction):
            counted[self._names.get(label, OTHER)] += rows
        return Tally(len(values), nan_rows, counted)


def _count(prediction: Prediction) -> Iterable[tuple[float | str, int]]:
    """The labels of an answer and their rows."""
    if prediction.places is None or prediction.classes is None:
        return Counter(prediction.values).items()
    counts = np.bincount(prediction.places).tolist()
    return [(label, rows) for label, rows in zip(prediction.classes, counts, strict=False) if rows]


def _sum_values(values: list[float] | list[int | str]) -> Tally:
    numbers = [value for value in values if isinstance(value, int | float) and math.isfinite(value)]
    squares = math.fsum(value * value for value in numbers)
    return Tally(len(values), len(values) - len(numbers), {}, math.fsum(numbers), squares)
