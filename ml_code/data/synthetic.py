"""Synthetic rows that resemble a dataset's own, for samples and demonstrations."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd

from ml_code.data.frames import replace_columns
from ml_code.datasets import Dataset

JITTER = 0.2
"""Standard deviation of the noise on a numeric cell, relative to its column's within the row's class."""


def resample_rows(dataset: Dataset, content: bytes, rows: int, *, seed: int) -> bytes:
    """Draws rows of a classification dataset with replacement, and moves each number a little.

    Args:
        dataset: describes the columns.
        content: CSV with valid rows.
        rows: how many to draw.
        seed: one seed always draws the same rows.

    Returns:
        CSV with the declared columns; numbers keep one decimal.
    """
    random = np.random.default_rng(seed)
    source = pd.read_csv(io.BytesIO(content))[dataset.columns]
    drawn = source.iloc[random.integers(len(source), size=rows)].reset_index(drop=True)
    spread = source.groupby(dataset.target)[dataset.numeric].std().loc[drawn[dataset.target]].to_numpy()
    noise = random.normal(scale=JITTER * spread)
    moved = (drawn[dataset.numeric] + noise).clip(lower=0.1).round(1)
    return replace_columns(drawn, {name: moved[name] for name in dataset.numeric}).to_csv(index=False).encode()
