"""Mixes of old and new rows to train on, after the world has changed: which rows count, and how much each weighs.

Appended to many old rows, a few new ones hardly change a model. So several mixes are trained, and rows that no model
has seen choose among them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml_code.data.features import list_classes
from ml_code.data.holdout import Split
from ml_code.data.live_rows import find_newest
from ml_code.datasets import Dataset
from ml_code.training.plans import Mix, MixName

MIXES: tuple[MixName, ...] = get_args(MixName.__value__)

NEWEST_ROWS = 500
"""Fewest new training rows for a model of new rows only: with 200 it is worse than none after a small change."""


@dataclass(frozen=True, slots=True)
class MixedRows:
    """Rows to train on, and the weight of each; None if all weigh the same."""

    rows: pd.DataFrame
    weights: npt.NDArray[np.float64] | None = None


def list_mixes(dataset: Dataset, train: pd.DataFrame, since_ms: float) -> list[MixName]:
    """The mixes that can be trained: new rows only need enough of them, and every class of the old ones."""
    newest = train[find_newest(train, since_ms)]
    is_complete = list_classes(dataset, newest) == list_classes(dataset, train)
    return [name for name in MIXES if name != "newest" or (len(newest) >= NEWEST_ROWS and is_complete)]


def mix_rows(train: pd.DataFrame, mix: Mix | None) -> MixedRows:
    """Chooses and weighs training rows; without a mix all weigh the same.

    New rows never weigh less than old ones, even where they are the majority.
    """
    if mix is None or mix.name == "all":
        return MixedRows(train)
    is_new = find_newest(train, mix.since_ms)
    if mix.name == "newest":
        return MixedRows(train[is_new].reset_index(drop=True))
    new = int(is_new.sum())
    ratio = (len(train) - new) / max(new, 1)
    return MixedRows(train, np.where(is_new, max(ratio, 1.0), 1.0))


def narrow_to_newest(split: Split, mix: Mix | None) -> Split:
    """The rows that live ones will be like: those since the change, or all of them without a mix or without such rows.

    Otherwise a version that learns a new file after a retraining would be compared with rows from before the change,
    and the alarm would begin again.
    """
    if mix is None:
        return split
    is_trained, is_held = (find_newest(rows, mix.since_ms) for rows in (split.train, split.holdout))
    if not is_trained.any() or not is_held.any():
        return split
    train, holdout = split.train[is_trained], split.holdout[is_held]
    return replace(split, train=train.reset_index(drop=True), holdout=holdout.reset_index(drop=True))
