"""The holdout: rows that no model trains on, chosen by a seeded hash of each row's text."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml_code.datasets import Dataset
from ml_code.errors import DataCheckError

CELL_SEPARATOR = "\x1f"
"""ASCII's unit separator, which does not occur in CSV cells."""


@dataclass(frozen=True, slots=True)
class Split:
    """Rows to train on and rows held out, each indexed from 0; `holdout_id` names the rule that split them."""

    train: pd.DataFrame
    holdout: pd.DataFrame
    holdout_id: str


def split_holdout(dataset: Dataset, frame: pd.DataFrame) -> Split:
    """Holds rows out by a seeded hash of their text: each row stays on its side as the dataset grows.

    Raises:
        DataCheckError: one of the sides is empty, or the training side lacks a class.
    """
    columns = _holdout_columns(dataset)
    texts = _canonical_text(frame, columns)
    prefix = f"{dataset.holdout.seed}{CELL_SEPARATOR}"
    positions = np.array([_position(prefix + text) for text in texts], dtype=np.float64)
    is_held_out = positions < dataset.holdout.share
    train = frame[~is_held_out].reset_index(drop=True)
    holdout = frame[is_held_out].reset_index(drop=True)
    _refuse_useless_split(dataset, frame, train, holdout)
    return Split(train, holdout, make_holdout_id(dataset))


def make_holdout_id(dataset: Dataset) -> str:
    """Name of the rule that holds rows out; metrics compare only under one rule."""
    rule = {"seed": dataset.holdout.seed, "share": dataset.holdout.share, "columns": _holdout_columns(dataset)}
    return hashlib.sha256(json.dumps(rule, sort_keys=True).encode()).hexdigest()[:16]


def _holdout_columns(dataset: Dataset) -> list[str]:
    if dataset.holdout.columns:
        return list(dataset.holdout.columns)
    return [dataset.key] if dataset.key else [*dataset.features, dataset.target]


def _canonical_text(frame: pd.DataFrame, columns: list[str]) -> list[str]:
    """One text per row, independent of the columns' types: 1, 1.0 and "1" are one cell."""
    cells = [[_canonical_cell(cell) for cell in frame[name].tolist()] for name in columns]
    return [CELL_SEPARATOR.join(row) for row in zip(*cells, strict=True)]


def _canonical_cell(cell: object) -> str:
    if cell is None or cell != cell:  # noqa: PLR0124  NaN differs from itself
        return ""
    try:
        return repr(float(str(cell)))
    except ValueError:
        return str(cell).strip()


def _position(text: str) -> float:
    """A position between 0 and 1 that depends only on the text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64


def _refuse_useless_split(dataset: Dataset, frame: pd.DataFrame, train: pd.DataFrame, holdout: pd.DataFrame) -> None:
    if train.empty or holdout.empty:
        raise DataCheckError(
            f"{dataset.name}: found {len(train)} rows to train on and {len(holdout)} held out, "
            "expected both above 0; bring more rows or change holdout.share in the catalog"
        )
    if dataset.task == "classification":
        lacking = sorted(map(str, set(frame[dataset.target]) - set(train[dataset.target])))
        if lacking or train[dataset.target].nunique() < 2:
            raise DataCheckError(
                f"{dataset.name}: found no row to train on of the class {', '.join(lacking) or 'other than one'}, "
                "expected two classes or more, each with a row; bring more rows or change holdout.seed in the catalog"
            )
