"""What stands in a pipeline before its estimator; apart from `features`, so that the gate needs no scikit-learn."""

from __future__ import annotations

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from ml_code.datasets import Dataset


def make_preprocessor(dataset: Dataset, *, is_scaled: bool) -> ColumnTransformer:
    """Fills gaps and encodes categories; a missing category is a category of its own.

    Args:
        dataset: whose features.
        is_scaled: for linear models only: scaling before trees moves their split borders in float32.
    """
    steps = [("impute", SimpleImputer(strategy="median", keep_empty_features=True))]
    if is_scaled:
        steps.append(("scale", StandardScaler()))
    parts = []
    if dataset.numeric:
        parts.append(("numeric", Pipeline(steps), dataset.numeric))
    if dataset.categorical:
        encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32)
        parts.append(("categorical", encoder, dataset.categorical))
    return ColumnTransformer(parts)
