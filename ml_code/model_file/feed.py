"""Turns rows into the inputs of a model file, for requests, tables and batches alike.

A feed has one array of shape (rows, 1) for each feature, by the identifier of its input. A number is float32, and NaN
if missing. A category is its canonical text (object), and empty if missing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import NoneType

import numpy as np
import numpy.typing as npt

from ml_code.cells import name_category
from ml_code.model_file.spec import Feature, Value

TEXTS = frozenset({str, NoneType})

type Feed = Mapping[str, npt.NDArray[np.generic]]

type Rows = Sequence[Sequence[Value]] | npt.NDArray[np.generic]
"""Rows with cells in the order of the features; in an array, which has numbers only, NaN is a missing value."""


def feed_rows(features: Sequence[Feature], rows: Rows) -> Feed:
    """Feeds rows, with cells in the order of the features; None is a missing value."""
    # One conversion of all numbers is faster than one of each column; None becomes NaN.
    if all(feature.kind == "numeric" for feature in features):
        matrix = np.array(rows, dtype=np.float32)
        return {feature.input: matrix[:, i : i + 1] for i, feature in enumerate(features)}
    columns = list(zip(*rows, strict=True)) or [()] * len(features)
    cells = [column for feature, column in zip(features, columns, strict=True) if feature.kind == "numeric"]
    numbers = iter(np.array(cells, dtype=np.float32).reshape(len(cells), len(rows), 1))
    return {
        feature.input: next(numbers) if feature.kind == "numeric" else _feed_categories(feature, column)
        for feature, column in zip(features, columns, strict=True)
    }


def feed_columns(features: Sequence[Feature], columns: Mapping[str, Sequence[Value] | npt.NDArray[np.generic]]) -> Feed:
    """Feeds columns of equal length, by name; None and NaN are missing values."""
    feed: dict[str, npt.NDArray[np.generic]] = {}
    for feature in features:
        column = columns[feature.name]
        if feature.kind == "numeric":
            feed[feature.input] = np.asarray(column, dtype=np.float32).reshape(-1, 1)
        else:
            feed[feature.input] = _feed_categories(feature, column)
    return feed


def name_column(feature: Feature, column: Collection[object]) -> list[str]:
    """The categories of a column as the model reads them; a text that repeats is read once."""
    if len(column) > 1 and set(map(type, column)) <= TEXTS:
        texts = set(column)
        known = dict(zip(texts, _name_each(feature, texts), strict=True))
        return list(map(known.__getitem__, column))
    # Equal keys may be different categories: 1 and true.
    return _name_each(feature, column)


def _feed_categories(feature: Feature, column: Collection[object]) -> npt.NDArray[np.generic]:
    return np.array(name_column(feature, column), dtype=object).reshape(-1, 1)


def _name_each(feature: Feature, cells: Iterable[object]) -> list[str]:
    names = list(map(name_category, cells))
    return [feature.truths.get(name, name) for name in names] if feature.truths else names
