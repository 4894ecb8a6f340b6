"""Live rows: answered rows of the prediction log with their true labels, as a source of a dataset beside its files.

They lack the dataset's key and group, which no client sends. The request's id and the row's number identify them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml_code.dataset_rules import Holdout
from ml_code.datasets import Dataset

LIVE_ID = "mlops_row_id"
"""Column of a live row: request id, hyphen, number of the row in the request."""

PREDICTED_AT = "mlops_predicted_at"
"""Column of a live row: time of its prediction in milliseconds UTC, as float64."""

LABELLED_AT = "mlops_labelled_at"
"""Column of a live row: when its label came, in milliseconds UTC, as float64."""

LABELLED_BY = "mlops_labelled_by"
"""Column of a live row: the token of the gateway that brought its label; missing without a token."""

LIVE = "live-"
"""Begins the names of clean files of live rows that count for every training."""

PENDING = "pending-"
"""Begins the names of clean files of live rows that count only for the retraining that wrote them."""

LIVE_SHARE = 0.34
"""Share of the live rows that no model trains on: a few hundred new labels must tell two models apart."""


def describe_live(dataset: Dataset) -> Dataset:
    """The dataset as its live rows have it: with their own key, and without group and rule of the holdout.

    >>> describe_live(load_dataset("titanic")).key
    'mlops_row_id'
    """
    return dataset.model_copy(update={"key": LIVE_ID, "group": None, "holdout": Holdout(seed=dataset.holdout.seed)})


def find_live(frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Whether each row is a live one, as a boolean array of one value per row."""
    if LIVE_ID not in frame.columns:
        return np.zeros(len(frame), dtype=bool)
    return frame[LIVE_ID].notna().to_numpy()


def find_newest(frame: pd.DataFrame, since_ms: float) -> npt.NDArray[np.bool_]:
    """Whether each row is a live one that was predicted at this time or later, as a boolean array."""
    if PREDICTED_AT not in frame.columns:
        return np.zeros(len(frame), dtype=bool)
    return find_live(frame) & (frame[PREDICTED_AT] >= since_ms).to_numpy()
