"""The holdout: rows that no model trains on, chosen by a seeded hash of each row's text."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml_code.cells import name_category
from ml_code.data.live_rows import LIVE_ID, LIVE_SHARE, find_live
from ml_code.datasets import Dataset
from ml_code.errors import DataCheckError
from ml_code.model_file.spec import Label

CELL_SEPARATOR = "\x1f"
"""ASCII's unit separator, which does not occur in CSV cells."""

NUMBER_STARTS = frozenset("0123456789+-.iInN")
"""First characters of the texts that `float` reads, as far as they are ASCII."""

SHOWN_CLASSES = 5

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Split:
    """Rows to train on and rows held out, each indexed from 0; `holdout_id` names the rule that split them.

    The holdout has no row of `unheld_classes`, so no metric on it tells how a model predicts these classes.
    """

    train: pd.DataFrame
    holdout: pd.DataFrame
    holdout_id: str
    unheld_classes: tuple[Label, ...] = ()


def split_holdout(dataset: Dataset, frame: pd.DataFrame) -> Split:
    """Holds rows out by a seeded hash of their text: each row stays on its side as the dataset grows.

    The rows of one group have one hash and so one side. Copies of a row without a key have a hash each. A class whose
    rows are all held out gives some of them to the training, until another of its rows is there. Live rows have a share
    and a text of their own, so they do not move the others.

    Raises:
        DataCheckError: one of the sides is empty, or all rows have one class.
    """
    _refuse_one_class(dataset, frame)
    positions = _place_rows(dataset, frame)
    is_held_out = positions < dataset.holdout.share
    unheld: tuple[Label, ...] = ()
    if dataset.task == "classification":
        is_held_out = _spare_classes(dataset, frame[dataset.target], positions, is_held_out)
        unheld = _find_lacking(frame[dataset.target], is_held_out)
    train = frame[~is_held_out].reset_index(drop=True)
    holdout = frame[is_held_out].reset_index(drop=True)
    if train.empty or holdout.empty:
        raise DataCheckError(
            f"{dataset.name}: found {len(train)} rows to train on and {len(holdout)} held out, "
            "expected both above 0; bring more rows or change holdout.share in the catalog"
        )
    if unheld:
        log.warning("%s: no row is held out of the class %s: no metric sees it", dataset.name, _show(unheld))
    return Split(train, holdout, make_holdout_id(dataset), unheld)


def find_held_live(dataset: Dataset, ids: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Whether the live rows of these ids are held out, as a boolean array; none of their labels is learnt then."""
    prefix = _make_prefix(dataset)
    return np.array([_position(prefix + text) < LIVE_SHARE for text in ids], dtype=bool)


def make_holdout_id(dataset: Dataset) -> str:
    """Name of the rule that holds rows out; metrics compare only under one rule."""
    rule = {"seed": dataset.holdout.seed, "share": dataset.holdout.share, "columns": _holdout_columns(dataset)}
    if dataset.group is not None:
        rule["group"] = dataset.group
    return hashlib.sha256(json.dumps(rule, sort_keys=True).encode()).hexdigest()[:16]


def _place_rows(dataset: Dataset, frame: pd.DataFrame) -> npt.NDArray[np.float64]:
    """The position of each row, float64; below the dataset's share it is held out."""
    prefix = _make_prefix(dataset)
    is_live = find_live(frame)
    positions = np.empty(len(frame), dtype=np.float64)
    positions[~is_live] = [_position(prefix + text) for text in _name_rows(dataset, frame[~is_live])]
    if is_live.any():
        scale = dataset.holdout.share / LIVE_SHARE
        positions[is_live] = [scale * _position(prefix + text) for text in frame.loc[is_live, LIVE_ID].tolist()]
    return positions


def _make_prefix(dataset: Dataset) -> str:
    """What begins each row's text before it is hashed: another seed holds out other rows."""
    return f"{dataset.holdout.seed}{CELL_SEPARATOR}"


def _holdout_columns(dataset: Dataset) -> list[str]:
    if dataset.holdout.columns:
        return list(dataset.holdout.columns)
    return [dataset.key] if dataset.key else [*dataset.features, dataset.target]


def _name_rows(dataset: Dataset, frame: pd.DataFrame) -> list[str]:
    """One text per row, which decides its side: of its group, or of its own cells if it has no group."""
    cells = [_name_cells(frame[name]) for name in _holdout_columns(dataset)]
    rows = [CELL_SEPARATOR.join(row) for row in zip(*cells, strict=True)]
    if dataset.key is None and not dataset.holdout.columns:
        rows = _number_copies(rows)
    if dataset.group is None:
        return rows
    return [group or row for group, row in zip(_name_cells(frame[dataset.group]), rows, strict=True)]


def _number_copies(rows: list[str]) -> list[str]:
    """Adds its number to each further copy of a row, so that equal rows are on both sides.

    Otherwise all rows of one combination with one label would be on one side. In a table of few combinations a model
    would be judged by labels that it never saw.
    """
    copies = pd.Series(rows).groupby(rows, sort=False).cumcount().tolist()
    return [f"{row}{CELL_SEPARATOR}{copy}" if copy else row for row, copy in zip(rows, copies, strict=True)]


def _name_cells(cells: pd.Series) -> list[str]:
    """The text of each cell, independent of the column's type: 1, 1.0 and "1" are one cell."""
    # Never change a text: a champion has trained on what was not held out by it.
    if pd.api.types.is_float_dtype(cells):
        # By their bits, because 0.0 and -0.0 are equal, but their texts are not.
        codes, bits = pd.factorize(cells.to_numpy(np.float64).view(np.int64))
        named = [repr(number) if number == number else "" for number in bits.view(np.float64).tolist()]  # noqa: PLR0124
    else:
        codes, distinct = pd.factorize(cells, use_na_sentinel=True)
        named = [*map(_name_cell, distinct.tolist()), ""]  # a missing cell has the code -1
    texts: list[str] = np.array(named, dtype=object)[codes].tolist()
    return texts


def _name_cell(cell: object) -> str:
    text = name_category(cell)
    if text.isascii() and text[:1] not in NUMBER_STARTS:
        return text  # ten times as fast as an error of `float`
    try:
        return repr(float(text))
    except ValueError:
        return text


def _position(text: str) -> float:
    """A position between 0 and 1 that depends only on the text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64


def _spare_classes(
    dataset: Dataset, labels: pd.Series, positions: npt.NDArray[np.float64], is_held_out: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Moves the rows nearest to the training side there, for each class that would have no row to train on."""
    lacking = _find_lacking(labels, ~is_held_out)
    for label in lacking:
        nearest = positions[(labels == label).to_numpy()].max()
        # Rows of one position have one text: a group moves as a whole.
        is_held_out = is_held_out & (positions != nearest)
    if lacking:
        log.warning(
            "%s: every row of the class %s would be held out, so some of them are trained on; bring more rows",
            dataset.name,
            _show(lacking),
        )
    return is_held_out


def _find_lacking(labels: pd.Series, is_on_side: npt.NDArray[np.bool_]) -> tuple[Label, ...]:
    """The classes without a row on a side."""
    return tuple(sorted(set(labels.tolist()) - set(labels[is_on_side].tolist()), key=str))


def _show(classes: tuple[Label, ...]) -> str:
    more = f" and {len(classes) - SHOWN_CLASSES} others" if len(classes) > SHOWN_CLASSES else ""
    return ", ".join(repr(label)[:40] for label in classes[:SHOWN_CLASSES]) + more


def _refuse_one_class(dataset: Dataset, frame: pd.DataFrame) -> None:
    if dataset.task == "classification" and frame[dataset.target].nunique() == 1:
        raise DataCheckError(
            f"{dataset.name}: found the one class {_show((frame[dataset.target].iloc[0],))} in {dataset.target}, "
            "expected two or more; bring rows of another class, or choose another target"
        )
