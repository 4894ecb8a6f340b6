"""The score of each part of the holdout: every category, and every quartile of a number."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml_code.data.features import name_categories
from ml_code.dataset_rules import LOWER_IS_BETTER
from ml_code.datasets import Dataset
from ml_code.gate import evaluation
from ml_code.gate.evidence import Slice
from ml_code.model_file.onnx_model import Prediction

MOST_CATEGORIES = 20
"""Slices of one categorical feature: those with the most rows."""

SHOWN_CATEGORY = 60
"""Length of a category in the name of a slice."""

LEAST_DIGITS = 6
MOST_DIGITS = 17
"""Digits that tell any two float64 apart."""

QUARTILES = (0.0, 0.25, 0.5, 0.75, 1.0)

type Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Cut:
    """A part of a table by one feature: the name of the part, and a function that finds its rows."""

    feature: str
    part: str
    find: Callable[[pd.Series], Mask]


def measure_slices(dataset: Dataset, holdout: pd.DataFrame, prediction: Prediction) -> list[Slice]:
    """Measures the gate's metric on every slice that says something of it, the worst one first.

    Raises:
        GateError: the metric cannot be measured.
    """
    answers = evaluation.read_answers(dataset, holdout[dataset.target], prediction)
    metric = dataset.gate.metric
    masks = [(cut, cut.find(holdout[cut.feature]).astype(np.float64)) for cut in list_cuts(dataset, holdout)]
    found = [
        Slice(cut.feature, cut.part, int(mask.sum()), evaluation.SCORES[metric](answers, mask))
        for cut, mask in masks
        if mask.any() and evaluation.is_measurable(metric, answers, mask)
    ]
    sign = -1 if metric in LOWER_IS_BETTER else 1
    return sorted(found, key=lambda part: -math.inf if math.isnan(part.score) else sign * part.score)


def list_cuts(dataset: Dataset, holdout: pd.DataFrame) -> list[Cut]:
    """The slices of a holdout, feature by feature; other rows are cut at the same edges."""
    return [cut for name in dataset.features for cut in _cut(dataset, holdout[name])]


def list_outer_cuts(dataset: Dataset, holdout: pd.DataFrame) -> list[Cut]:
    """The parts that a holdout lacks: numbers above its largest one, and categories that are not among its slices."""
    return [_cut_outside(dataset, holdout[name]) for name in dataset.features]


def list_counting(slices: Sequence[Slice], least_rows: int) -> list[Slice]:
    """The slices with enough rows, in the same order."""
    return [part for part in slices if part.rows >= least_rows]


def write_slices(slices: Sequence[Slice]) -> str:
    """JSON text of the slices; a score that is not a number is null."""
    rows = [asdict(part) | {"score": part.score if math.isfinite(part.score) else None} for part in slices]
    return json.dumps(rows, ensure_ascii=False, indent=1)


def _cut(dataset: Dataset, cells: pd.Series) -> Iterator[Cut]:
    name = str(cells.name)
    if name in dataset.categorical:
        for text in _list_categories(cells):
            part = f"= {_show_category(text)}" if text else "is missing"
            yield Cut(name, part, partial(_is_category, text=text))
        return
    yield Cut(name, "is missing", lambda found: np.isnan(found.to_numpy(dtype=np.float64)))
    edges = _find_edges(cells)
    if not len(edges):
        return
    shown = _show_edges(edges)
    place = min(1, len(edges) - 1)
    yield Cut(name, f"<= {shown[place]}", lambda found: found.to_numpy(dtype=np.float64) <= edges[place])
    for low, high in itertools.pairwise(range(1, len(edges))):
        part = f"> {shown[low]}, <= {shown[high]}"
        yield Cut(name, part, partial(_is_between, low=edges[low], high=edges[high]))


def _cut_outside(dataset: Dataset, cells: pd.Series) -> Cut:
    name = str(cells.name)
    if name in dataset.categorical:
        known = _list_categories(cells)
        return Cut(name, "= another category", lambda found: (~name_categories(found).isin(["", *known])).to_numpy())
    edges = _find_edges(cells)
    highest, shown = (float(edges[-1]), _show_edges(edges)[-1]) if len(edges) else (math.inf, "inf")
    return Cut(name, f"> {shown}", lambda found: found.to_numpy(dtype=np.float64) > highest)


def _list_categories(cells: pd.Series) -> list[str]:
    texts: list[str] = name_categories(cells).value_counts().index[:MOST_CATEGORIES].tolist()
    return texts


def _find_edges(cells: pd.Series) -> npt.NDArray[np.float64]:
    """The distinct quartiles of a number, from its smallest value to its largest; empty without values."""
    numbers = cells.to_numpy(dtype=np.float64)
    known = numbers[~np.isnan(numbers)]
    return np.unique(np.quantile(known, QUARTILES)) if len(known) else known


def _show_category(text: str) -> str:
    """A category in the name of a slice; a long one ends in a digest, because others may begin alike."""
    if len(text) <= SHOWN_CATEGORY:
        return text
    digest = f"... {hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return text[: SHOWN_CATEGORY - len(digest)] + digest


def _show_edges(edges: npt.NDArray[np.float64]) -> list[str]:
    """The edges as texts, with as many digits as tell them apart: seconds since 1970 have ten equal ones."""
    texts = ([f"{edge:.{digits}g}" for edge in edges] for digits in range(LEAST_DIGITS, MOST_DIGITS + 1))
    return next(shown for shown in texts if len(set(shown)) == len(edges))


def _is_category(cells: pd.Series, text: str) -> Mask:
    return (name_categories(cells) == text).to_numpy()


def _is_between(cells: pd.Series, low: float, high: float) -> Mask:
    numbers = cells.to_numpy(dtype=np.float64)
    return (numbers > low) & (numbers <= high)
