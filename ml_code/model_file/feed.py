"""Turns rows into the inputs of a model file, for requests, tables and batches alike.

A feed has one array of shape (rows, 1) for each feature, by the identifier of its input. A number is float32, and NaN
if missing. A category is its canonical text (object), and empty if missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ml_code.cells import name_category
from ml_code.model_file.spec import Feature, Value

type Feed = Mapping[str, npt.NDArray[np.generic]]


def feed_rows(features: Sequence[Feature], rows: Sequence[Sequence[Value]]) -> Feed:
    """Feeds rows, with cells in the order of the features; None is a missing value."""
    if all(feature.kind == "numeric" for feature in features):
        matrix = np.array(rows, dtype=np.float32)  # None becomes NaN
        return {feature.input: matrix[:, i : i + 1] for i, feature in enumerate(features)}
    return feed_columns(features, {feature.name: [row[i] for row in rows] for i, feature in enumerate(features)})


def feed_columns(features: Sequence[Feature], columns: Mapping[str, Sequence[Value] | npt.NDArray[np.generic]]) -> Feed:
    """Feeds columns of equal length, by name; None and NaN are missing values."""
    feed: dict[str, npt.NDArray[np.generic]] = {}
    for feature in features:
        column = columns[feature.name]
        if feature.kind == "numeric":
            feed[feature.input] = np.asarray(column, dtype=np.float32).reshape(-1, 1)
        else:
            names = list(map(name_category, column))
            if feature.truths:
                names = [feature.truths.get(name, name) for name in names]
            feed[feature.input] = np.array(names, dtype=object).reshape(-1, 1)
    return feed
