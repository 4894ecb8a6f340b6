"""The holdout: rows that no model trains on, chosen by a seeded hash of each row's text."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
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

type Numbering = Callable[[list[str]], list[int]]
"""The number of each row among its copies, from 0."""

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


@dataclass(frozen=True, slots=True)
class Labels:
    """The distinct labels of a target, and the position of each row's label among them, int32 or int64."""

    codes: npt.NDArray[np.signedinteger]
    classes: tuple[Label, ...]

    @classmethod
    def read(cls, dataset: Dataset, parts: Iterable[pd.Series]) -> Labels | None:
        """Reads the labels of a target in parts; None for a regression."""
        if dataset.task == "regression":
            return None
        known: dict[Label, int] = {}
        codes = []
        for part in parts:
            found, distinct = pd.factorize(part)
            ids = np.array([known.setdefault(label, len(known)) for label in distinct.tolist()], dtype=np.int32)
            codes.append(ids[found] if len(ids) else found.astype(np.int32))
        return cls(np.concatenate(codes), tuple(known))

    def find_lacking(self, is_on_side: npt.NDArray[np.bool_]) -> tuple[Label, ...]:
        """The classes without a row on a side."""
        counts = np.bincount(self.codes[is_on_side], minlength=len(self.classes))
        return tuple(sorted((self.classes[code] for code in np.flatnonzero(counts == 0)), key=str))


def split_holdout(dataset: Dataset, frame: pd.DataFrame) -> Split:
    """Holds rows out by a seeded hash of their text: each row stays on its side as the dataset grows.

    The rows of one group have one hash and so one side. Copies of a row without a key have a hash each. A class whose
    rows are all held out gives some of them to the training, until another of its rows is there. Live rows have a share
    and a text of their own, so they do not move the others.

    Raises:
        DataCheckError: one of the sides is empty, or all rows have one class.
    """
    labels = Labels.read(dataset, [frame[dataset.target]])
    is_held_out, unheld = choose_sides(dataset, place_rows(dataset, frame), labels)
    train = frame[~is_held_out].reset_index(drop=True)
    holdout = frame[is_held_out].reset_index(drop=True)
    return Split(train, holdout, make_holdout_id(dataset), unheld)


def choose_sides(
    dataset: Dataset, positions: npt.NDArray[np.float64], labels: Labels | None
) -> tuple[npt.NDArray[np.bool_], tuple[Label, ...]]:
    """Whether each row is held out, by its position; and the classes of which no row is.

    Args:
        dataset: gives the share.
        positions: of the rows, from `place_rows`.
        labels: of the rows; None for a regression.

    Raises:
        DataCheckError: one of the sides is empty, or all rows have one class.
    """
    is_held_out = positions < dataset.holdout.share
    unheld: tuple[Label, ...] = ()
    if labels is not None:
        _refuse_one_class(dataset, labels)
        is_held_out = _spare_classes(dataset, labels, positions, is_held_out)
        unheld = labels.find_lacking(is_held_out)
    held = int(is_held_out.sum())
    if held in {0, len(is_held_out)}:
        raise DataCheckError(
            f"{dataset.name}: found {len(is_held_out) - held} rows to train on and {held} held out, "
            "expected both above 0; bring more rows or change holdout.share in the catalog"
        )
    if unheld:
        log.warning("%s: no row is held out of the class %s: no metric sees it", dataset.name, _show(unheld))
    return is_held_out, unheld


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


def place_rows(dataset: Dataset, frame: pd.DataFrame, number: Numbering | None = None) -> npt.NDArray[np.float64]:
    """The position of each row, float64; below the dataset's share it is held out.

    Args:
        dataset: names the columns.
        frame: a table, or a part of one.
        number: numbers the copies of a row in all parts of a table; None: the frame is the table.
    """
    prefix = _make_prefix(dataset)
    is_live = find_live(frame)
    positions = np.empty(len(frame), dtype=np.float64)
    own = _name_rows(dataset, frame[~is_live], number or _number_copies)
    positions[~is_live] = [_position(prefix + text) for text in own]
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


def has_copies(dataset: Dataset) -> bool:
    """Whether equal rows are different ones, each with a position."""
    return dataset.key is None and not dataset.holdout.columns


def name_rows(dataset: Dataset, frame: pd.DataFrame) -> list[str]:
    """One text per row, of its own cells; copies have the same."""
    cells = [_name_cells(frame[name]) for name in _holdout_columns(dataset)]
    return [CELL_SEPARATOR.join(row) for row in zip(*cells, strict=True)]


def _name_rows(dataset: Dataset, frame: pd.DataFrame, number: Numbering) -> list[str]:
    """One text per row, which decides its side: of its group, or of its own cells if it has no group."""
    rows = name_rows(dataset, frame)
    if has_copies(dataset):
        rows = [add_copy(row, copy) for row, copy in zip(rows, number(rows), strict=True)]
    if dataset.group is None:
        return rows
    return [group or row for group, row in zip(_name_cells(frame[dataset.group]), rows, strict=True)]


def add_copy(row: str, copy: int) -> str:
    """Adds its number to each further copy of a row, so that equal rows are on both sides.

    Otherwise all rows of one combination with one label would be on one side. In a table of few combinations a model
    would be judged by labels that it never saw.
    """
    return f"{row}{CELL_SEPARATOR}{copy}" if copy else row


def _number_copies(rows: list[str]) -> list[int]:
    """Numbers equal rows from 0."""
    numbers: list[int] = pd.Series(rows).groupby(rows, sort=False).cumcount().tolist()
    return numbers


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
    dataset: Dataset, labels: Labels, positions: npt.NDArray[np.float64], is_held_out: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Moves the rows nearest to the training side there, for each class that would have no row to train on."""
    lacking = labels.find_lacking(~is_held_out)
    for label in lacking:
        nearest = positions[labels.codes == labels.classes.index(label)].max()
        # Rows of one position have one text: a group moves as a whole.
        is_held_out = is_held_out & (positions != nearest)
    if lacking:
        log.warning(
            "%s: every row of the class %s would be held out, so some of them are trained on; bring more rows",
            dataset.name,
            _show(lacking),
        )
    return is_held_out


def _show(classes: tuple[Label, ...]) -> str:
    more = f" and {len(classes) - SHOWN_CLASSES} others" if len(classes) > SHOWN_CLASSES else ""
    return ", ".join(repr(label)[:40] for label in classes[:SHOWN_CLASSES]) + more


def _refuse_one_class(dataset: Dataset, labels: Labels) -> None:
    if len(labels.classes) == 1:
        raise DataCheckError(
            f"{dataset.name}: found the one class {_show(labels.classes)} in {dataset.target}, "
            "expected two or more; bring rows of another class, or choose another target"
        )
