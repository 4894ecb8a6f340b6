"""Finds the columns that give the target away: most of them are known only after it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml_code.data.validation import LARGEST_NUMBER

SAMPLED_ROWS = 1000
"""Rows that nearly always tell that a column does not decide the target, so that the others are not read."""

MOST_VALUES = 50

LEAST_ROWS = 10

LEAST_VALUES = 30
"""Different numbers whose order tells more than chance."""

ROWS_A_VALUE = 5
"""With fewer rows a value may stand for one class by chance."""

ADVICE = "if it is known only afterwards, take it out."


@dataclass(frozen=True, slots=True)
class _Cells:
    """The cells of one column: an array of numbers or pandas' array of texts, and which of them have a value."""

    values: Any
    is_known: npt.NDArray[np.bool_]
    is_number: bool


@dataclass(frozen=True, slots=True)
class _Labels:
    """The target's labels of shape (rows) as whole numbers below `count`; -1 has none."""

    codes: npt.NDArray[np.int64]
    count: int


def find_copies(target: pd.Series, features: dict[str, pd.Series]) -> dict[str, str]:
    """The features that repeat the target, each with the reason.

    Args:
        target: numbers or labels.
        features: numbers or texts with the index of the target.
    """
    copies: dict[str, str] = {}
    aim, labels = _open(target), _number_labels(target)
    for name, series in features.items():
        cells = _open(series)
        known = aim.is_known & cells.is_known
        if known.sum() < LEAST_ROWS:
            continue
        share = f"in {known.sum() / aim.is_known.sum():.0%} of the rows with a target"
        if aim.is_number:
            if cells.is_number and np.allclose(aim.values[known], cells.values[known], rtol=1e-9, atol=0):
                copies[name] = f"it gives the target away: it is the same number, {share}"
        elif _stands_for(labels, cells, known):
            copies[name] = f"it gives the target away: each value stands for one class, {share}"
    return copies


def find_deciders(target: pd.Series, features: dict[str, pd.Series]) -> Iterable[str]:
    """Yields a sentence for each column that alone tells the target, which a person should look at.

    Args:
        target: numbers or labels.
        features: numbers or texts with the index of the target.
    """
    aim, labels = _open(target), _number_labels(target)
    for name, series in features.items():
        cells = _open(series)
        known = aim.is_known & cells.is_known
        if aim.is_number:
            if cells.is_number and _is_linear(aim.values[known], cells.values[known]):
                yield f"{name}: the target is this column times a constant, plus a constant; {ADVICE}"
            elif cells.is_number and _is_ordered(aim.values[known], cells.values[known]):
                yield f"{name}: it puts the rows into the order of the target, from first to last; {ADVICE}"
        elif cells.is_number and _is_separated(labels.codes[known], cells.values[known]):
            words = "one threshold tells the two classes" if labels.count == 2 else "thresholds tell the classes"
            yield f"{name}: {words} apart in every row; {ADVICE}"
        elif _tells_by_value(labels, cells, known):
            yield f"{name}: each of its values is of one class only; {ADVICE}"
        elif _tells_by_gap(labels, cells, aim.is_known):
            yield f"{name}: it has a value in the rows of some classes, and in no other row; {ADVICE}"


def find_sums(target: pd.Series, features: dict[str, pd.Series]) -> Iterable[str]:
    """Yields a sentence if numbers of the same row, each times a constant, add up to the target.

    Args:
        target: numbers or labels.
        features: numbers or texts with the index of the target.
    """
    aim = _open(target)
    columns = {name: cells for name, series in features.items() if (cells := _open(series)).is_number}
    if not aim.is_number or not 2 <= len(columns) <= MOST_VALUES:
        return
    known = np.logical_and.reduce([np.abs(cells.values) <= LARGEST_NUMBER for cells in (aim, *columns.values())])
    rows = np.flatnonzero(known)[:SAMPLED_ROWS]
    if len(rows) < LEAST_ROWS * len(columns) or len(pd.unique(aim.values[rows])) < LEAST_VALUES:
        return
    table = np.column_stack([cells.values[rows] for cells in columns.values()])
    spread = table.std(axis=0)
    table, wanted = (table - table.mean(axis=0)) / np.where(spread > 0, spread, 1), aim.values[rows]
    wanted = (wanted - wanted.mean()) / wanted.std()
    weights = np.linalg.lstsq(table, wanted)[0]
    parts = [name for name, weight in zip(columns, weights, strict=True) if abs(weight) > 1e-3]
    if len(parts) > 1 and np.mean((table @ weights - wanted) ** 2) < 1e-9:
        yield f"{', '.join(parts)[:200]}: together they add up to the target; {ADVICE}"


def _open(cells: pd.Series) -> _Cells:
    is_number = pd.api.types.is_float_dtype(cells)
    values = cells.to_numpy(np.float64) if is_number else cells.array
    return _Cells(values, ~np.asarray(pd.isna(values)), is_number)


def _number_labels(target: pd.Series) -> _Labels:
    codes, distinct = pd.factorize(target)
    return _Labels(codes.astype(np.int64), len(distinct))


def _count_distinct(codes: npt.NDArray[np.int64]) -> int:
    return int(np.count_nonzero(np.bincount(codes)))


def _stands_for(labels: _Labels, cells: _Cells, known: npt.NDArray[np.bool_]) -> bool:
    """Whether each value stands for one label, and each label for one value."""
    codes, values = labels.codes[known], cells.values[known]
    distinct_labels = _count_distinct(codes)
    if len(pd.unique(values[:SAMPLED_ROWS])) > distinct_labels:
        return False
    value_codes, distinct = pd.factorize(values)
    if len(distinct) != distinct_labels or len(distinct) < 2:
        return False
    return len(np.unique(value_codes.astype(np.int64) * labels.count + codes)) == len(distinct)


def _tells_by_value(labels: _Labels, cells: _Cells, known: npt.NDArray[np.bool_]) -> bool:
    """Whether each value is of one label, which several rows of it show."""
    places = np.flatnonzero(known)
    for rows in (places[:SAMPLED_ROWS], places):
        codes = labels.codes[rows]
        value_codes, distinct = pd.factorize(cells.values[rows])
        pairs = np.unique(value_codes.astype(np.int64) * labels.count + codes)
        if len(pairs) > len(distinct) or len(distinct) > MOST_VALUES:
            return False
    return _count_distinct(codes) > 1 and len(distinct) > 1 and len(places) >= ROWS_A_VALUE * len(distinct)


def _tells_by_gap(labels: _Labels, cells: _Cells, has_label: npt.NDArray[np.bool_]) -> bool:
    """Whether no label has rows with a value and rows without one."""
    places = np.flatnonzero(has_label)
    for rows in (places[:SAMPLED_ROWS], places):
        codes, is_known = labels.codes[rows], cells.is_known[rows]
        present = np.bincount(codes[is_known], minlength=labels.count)
        missing = np.bincount(codes[~is_known], minlength=labels.count)
        if np.any((present > 0) & (missing > 0)):
            return False
    return bool(min(missing.sum(), present.sum()) >= LEAST_ROWS)


def _is_linear(target: npt.NDArray[np.float64], cells: npt.NDArray[np.float64]) -> bool:
    """Whether one is a line of the other, but for what rounding to cents leaves."""
    if len(pd.unique(target)) < 3 or len(pd.unique(cells)) < 3:
        return False
    return bool(1 - np.corrcoef(target, cells)[0, 1] ** 2 < 1e-6)


def _is_ordered(target: npt.NDArray[np.float64], cells: npt.NDArray[np.float64]) -> bool:
    """Whether the target never falls while the number rises, or never rises, as with its logarithm."""
    for rows in (slice(SAMPLED_ROWS), slice(None)):
        by_cells = np.lexsort((target[rows], cells[rows]))
        steps, values = np.diff(target[rows][by_cells]), np.diff(cells[rows][by_cells])
        # Where equal numbers have different targets, the order among them is not the column's.
        if np.any((values == 0) & (steps != 0)) or not (np.all(steps >= 0) or np.all(steps <= 0)):
            return False
    return min(len(pd.unique(cells)), len(pd.unique(target))) >= LEAST_VALUES


def _is_separated(codes: npt.NDArray[np.int64], cells: npt.NDArray[np.float64]) -> bool:
    """Whether the numbers of each class lie in a range of their own."""
    for rows in (slice(SAMPLED_ROWS), slice(None)):
        ranges = pd.Series(cells[rows]).groupby(codes[rows]).agg(["min", "max", "count"]).sort_values("min")
        lows, highs = ranges["min"].to_numpy(), ranges["max"].to_numpy()
        if len(ranges) > MOST_VALUES or np.any(lows[1:] <= highs[:-1]):
            return False
    if len(ranges) < 2:
        return False
    return bool(np.sort(ranges["count"])[-2] >= LEAST_ROWS and len(cells) >= LEAST_ROWS * len(ranges))
