"""Finds the columns that give the target away: most of them are known only after it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

SAMPLED_ROWS = 1000
"""Rows that nearly always tell that a column does not decide the target, so that the others are not read."""

MOST_VALUES = 50

LEAST_ROWS = 10

ROWS_A_VALUE = 5
"""With fewer rows a value may stand for one class by chance."""

ADVICE = "if it is known only afterwards, take it out."


def find_copies(target: pd.Series, features: dict[str, pd.Series]) -> dict[str, str]:
    """The features that repeat the target, each with the reason.

    Args:
        target: numbers or labels.
        features: numbers or texts with the index of the target.
    """
    copies: dict[str, str] = {}
    for name, cells in features.items():
        known = target.notna() & cells.notna()
        if known.sum() < LEAST_ROWS:
            continue
        share = f"in {known.sum() / target.notna().sum():.0%} of the rows with a target"
        if pd.api.types.is_float_dtype(target):
            if pd.api.types.is_float_dtype(cells) and np.allclose(target[known], cells[known], rtol=1e-9):
                copies[name] = f"it gives the target away: it is the same number, {share}"
        elif _stands_for(target[known], cells[known]):
            copies[name] = f"it gives the target away: each value stands for one class, {share}"
    return copies


def _stands_for(labels: pd.Series, cells: pd.Series) -> bool:
    """Whether each value stands for one label, and each label for one value."""
    label_codes, distinct_labels = pd.factorize(labels)
    if cells.iloc[:1000].nunique() > len(distinct_labels):
        return False
    codes, distinct = pd.factorize(cells)
    if len(distinct) != len(distinct_labels) or len(distinct) < 2:
        return False
    return len(np.unique(codes.astype(np.int64) * len(distinct) + label_codes)) == len(distinct)


def find_deciders(target: pd.Series, features: dict[str, pd.Series]) -> Iterable[str]:
    """Yields a sentence for each column that alone tells the target, which a person should look at.

    Args:
        target: numbers or labels.
        features: numbers or texts with the index of the target.
    """
    for name, cells in features.items():
        known = target.notna() & cells.notna()
        if pd.api.types.is_float_dtype(target):
            if pd.api.types.is_float_dtype(cells) and _is_linear(target[known], cells[known]):
                yield f"{name}: the target is this column times a constant, plus a constant; {ADVICE}"
        elif pd.api.types.is_float_dtype(cells) and _is_separated(target[known], cells[known]):
            yield f"{name}: one threshold tells the two classes apart in every row; {ADVICE}"
        elif _tells_by_value(target[known], cells[known]):
            yield f"{name}: each of its values is of one class only; {ADVICE}"
        elif _tells_by_gap(target[target.notna()], cells[target.notna()]):
            yield f"{name}: it has a value in the rows of some classes, and in no other row; {ADVICE}"


def _tells_by_value(labels: pd.Series, cells: pd.Series) -> bool:
    """Whether each value is of one label, which several rows of it show."""
    for rows in (slice(SAMPLED_ROWS), slice(None)):
        codes, distinct = pd.factorize(cells.iloc[rows])
        label_codes, distinct_labels = pd.factorize(labels.iloc[rows])
        pairs = np.unique(codes.astype(np.int64) * max(1, len(distinct_labels)) + label_codes)
        if len(pairs) > len(distinct) or len(distinct) > MOST_VALUES:
            return False
    return len(distinct_labels) > 1 and len(distinct) > 1 and len(cells) >= ROWS_A_VALUE * len(distinct)


def _tells_by_gap(labels: pd.Series, cells: pd.Series) -> bool:
    """Whether no label has rows with a value and rows without one."""
    for rows in (slice(SAMPLED_ROWS), slice(None)):
        is_missing = cells.iloc[rows].isna()
        missing, present = labels.iloc[rows][is_missing], labels.iloc[rows][~is_missing]
        if not set(missing.unique()).isdisjoint(present.unique()):
            return False
    return min(len(missing), len(present)) >= LEAST_ROWS


def _is_linear(target: pd.Series, cells: pd.Series) -> bool:
    if target.nunique() < 3 or cells.nunique() < 3:
        return False
    return bool(1 - np.corrcoef(target, cells)[0, 1] ** 2 < 1e-9)


def _is_separated(labels: pd.Series, cells: pd.Series) -> bool:
    """Whether all numbers of one of two classes are below all of the other's."""
    distinct = labels.unique()
    if len(distinct) != 2:
        return False
    first, second = cells[labels == distinct[0]], cells[labels == distinct[1]]
    return min(len(first), len(second)) >= LEAST_ROWS and bool(first.max() < second.min() or second.max() < first.min())
