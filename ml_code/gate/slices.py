"""The score of each part of the holdout: every category, and every quartile of a number."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml_code.data.features import name_categories
from ml_code.datasets import LOWER_IS_BETTER, Dataset
from ml_code.gate import evaluation
from ml_code.gate.evidence import Slice
from ml_code.model_file.onnx_model import Prediction

MOST_CATEGORIES = 20
"""Slices of one categorical feature: those with the most rows."""

SHOWN_CATEGORY = 60
"""Length of a category in the name of a slice."""

QUARTILES = (0.0, 0.25, 0.5, 0.75, 1.0)

type Mask = npt.NDArray[np.bool_]


def measure_slices(dataset: Dataset, holdout: pd.DataFrame, prediction: Prediction) -> list[Slice]:
    """Measures the gate's metric on every slice, the worst one first.

    Raises:
        GateError: the metric cannot be measured.
    """
    answers = evaluation.read_answers(dataset, holdout[dataset.target], prediction)
    score = evaluation.SCORES[dataset.gate.metric]
    found = [
        Slice(name, part, int(mask.sum()), score(answers, mask.astype(np.float64)))
        for name in dataset.features
        for part, mask in _cut(dataset, holdout[name])
        if mask.any()
    ]
    sign = -1 if dataset.gate.metric in LOWER_IS_BETTER else 1
    return sorted(found, key=lambda part: -math.inf if math.isnan(part.score) else sign * part.score)


def list_counting(slices: Sequence[Slice], least_rows: int) -> list[Slice]:
    """The slices with enough rows, in the same order."""
    return [part for part in slices if part.rows >= least_rows]


def write_slices(slices: Sequence[Slice]) -> str:
    """JSON text of the slices; a score that is not a number is null."""
    rows = [asdict(part) | {"score": part.score if math.isfinite(part.score) else None} for part in slices]
    return json.dumps(rows, ensure_ascii=False, indent=1)


def _cut(dataset: Dataset, cells: pd.Series) -> Iterator[tuple[str, Mask]]:
    """Name and rows of each slice of one feature."""
    if str(cells.name) in dataset.categorical:
        texts = name_categories(cells)
        for text in texts.value_counts().index[:MOST_CATEGORIES].tolist():
            yield f"= {text[:SHOWN_CATEGORY]}" if text else "is missing", (texts == text).to_numpy()
        return
    numbers = cells.to_numpy(dtype=np.float64)
    is_missing = np.isnan(numbers)
    yield "is missing", is_missing
    if is_missing.all():
        return
    edges = np.unique(np.quantile(numbers[~is_missing], QUARTILES))
    yield f"<= {edges[min(1, len(edges) - 1)]:g}", numbers <= edges[min(1, len(edges) - 1)]
    for low, high in itertools.pairwise(edges[1:]):
        yield f"> {low:g}, <= {high:g}", (numbers > low) & (numbers <= high)
