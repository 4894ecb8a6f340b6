"""Splits a snapshot that is larger than memory: a side for every row, and samples of the rows of both sides.

Held in memory are 8 to 24 bytes for each row, whatever the row holds, and the samples. Every row has the side that
`holdout.split_holdout` would give it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml_code.data.features import select_inputs
from ml_code.data.holdout import Labels, Split, choose_sides, has_copies, make_holdout_id, name_rows, place_rows
from ml_code.data.live_rows import find_live
from ml_code.data.snapshot_blocks import SnapshotBlocks
from ml_code.datasets import Dataset

HOLDOUT_ROWS = 1_000_000
"""Most rows of a holdout that are measured: the standard error of an accuracy of 0.9 is then 0.0003."""

TRAIN_ROWS = 200_000
"""Training rows for what needs only an impression of them: the constant baseline, golden rows, the comparison of file
and pipeline, the reference."""

SEED = 42

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LargeSplit:
    """Samples of both sides of a snapshot, whether each of its rows is held out, and the rows of each side.

    The sample of the training rows has every class, every category, and for each number a row with a gap and one with
    another value than 0 and 1, if there are any.
    """

    split: Split
    is_held_out: npt.NDArray[np.bool_]

    @property
    def holdout_rows(self) -> int:
        """Rows that are held out."""
        return int(self.is_held_out.sum())

    @property
    def train_rows(self) -> int:
        """Rows to train on."""
        return len(self.is_held_out) - self.holdout_rows

    def draw_alike(self) -> Split:
        """Samples of both sides in the proportion of the sides."""
        held = round(len(self.split.train) * self.holdout_rows / self.train_rows)
        if held >= len(self.split.holdout):
            return self.split
        drawn = self.split.holdout.sample(held, random_state=SEED).sort_index()
        return replace(self.split, holdout=drawn.reset_index(drop=True))


def split_blocks(dataset: Dataset, blocks: SnapshotBlocks) -> LargeSplit:
    """Holds rows out as `split_holdout` does, and samples both sides by a second hash of each row.

    Raises:
        DataCheckError: one of the sides is empty, or all rows have one class.
        StorageError: the snapshot is damaged.
    """
    positions = _place_blocks(dataset, blocks)
    target = dataset.target
    labels = Labels.read(dataset, (block[target] for block in blocks.read([target])))
    is_held_out, unheld = choose_sides(dataset, positions, labels)
    held = int(is_held_out.sum())
    shares = TRAIN_ROWS / (len(is_held_out) - held), HOLDOUT_ROWS / held
    if shares[1] < 1:
        log.warning("%s: found %d rows held out, so %d of them are measured", dataset.name, held, HOLDOUT_ROWS)
    train, holdout = _draw_rows(dataset, blocks, positions, is_held_out, shares)
    if labels is not None and shares[1] < 1:
        unheld = tuple(sorted(set(labels.classes) - set(holdout[target].tolist()), key=str))
    return LargeSplit(Split(train, holdout, make_holdout_id(dataset), unheld), is_held_out)


def _place_blocks(dataset: Dataset, blocks: SnapshotBlocks) -> npt.NDArray[np.float64]:
    """The position of each row; copies are numbered over all blocks."""
    numbering = _Numbering(_find_repeated(dataset, blocks) if has_copies(dataset) else np.empty(0, np.uint64))
    return np.concatenate([place_rows(dataset, block, numbering.number) for block in blocks.read()])


def _find_repeated(dataset: Dataset, blocks: SnapshotBlocks) -> npt.NDArray[np.uint64]:
    """The sorted digests of the rows that occur several times; live rows have no copies."""
    digests = np.concatenate([_digest(name_rows(dataset, block[~find_live(block)])) for block in blocks.read()])
    digests.sort()
    return np.unique(digests[1:][digests[1:] == digests[:-1]])


def _digest(rows: list[str]) -> npt.NDArray[np.uint64]:
    """64 bits of each row: two of 100 million different rows share them with a probability of 0.03 %."""
    return np.frombuffer(b"".join(hashlib.sha256(row.encode()).digest()[:8] for row in rows), dtype=np.uint64).copy()


class _Numbering:
    """Numbers the copies of rows from block to block."""

    def __init__(self, repeated: npt.NDArray[np.uint64]) -> None:
        self._repeated = repeated
        self._seen = np.zeros(len(repeated), np.int64)

    def number(self, rows: list[str]) -> list[int]:
        """The number of each row among its copies in this block and those before it."""
        if not len(self._repeated) or not rows:
            return [0] * len(rows)
        digests = _digest(rows)
        places = np.searchsorted(self._repeated, digests).clip(max=len(self._repeated) - 1)
        is_copy = self._repeated[places] == digests
        found = places[is_copy]
        numbers = np.zeros(len(rows), np.int64)
        numbers[is_copy] = self._seen[found] + pd.Series(found).groupby(found, sort=False).cumcount().to_numpy()
        np.add.at(self._seen, found, 1)
        return numbers.tolist()


def _draw_rows(
    dataset: Dataset,
    blocks: SnapshotBlocks,
    positions: npt.NDArray[np.float64],
    is_held_out: npt.NDArray[np.bool_],
    shares: tuple[float, float],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The sampled rows of both sides, in their order."""
    train, holdout, witnesses, start = [], [], _Witnesses(), 0
    for block in blocks.read():
        rows = slice(start, start + len(block))
        is_held, lots = is_held_out[rows], _cast_lots(positions[rows], start)
        start += len(block)
        holdout.append(block[is_held & _draw(lots, shares[1])])
        own = block[~is_held]
        train.append(own[_draw(lots[~is_held], shares[0]) | witnesses.find(dataset, own)])
    return pd.concat(train, ignore_index=True), pd.concat(holdout, ignore_index=True)


def _cast_lots(positions: npt.NDArray[np.float64], start: int) -> npt.NDArray[np.uint64]:
    """A hash of each row's position and number: the rows of a group have one position, and are drawn one by one."""
    numbers = np.arange(start, start + len(positions), dtype=np.uint64)
    lots: npt.NDArray[np.uint64] = pd.util.hash_array(positions.view(np.uint64) ^ pd.util.hash_array(numbers))
    return lots


def _draw(lots: npt.NDArray[np.uint64], share: float) -> npt.NDArray[np.bool_]:
    """Whether each row is drawn."""
    return np.ones(len(lots), bool) if share >= 1 else lots < np.uint64(share * 2**64)


@dataclass(slots=True)
class _Witnesses:
    """Finds the first row of everything that a model's description names."""

    seen: dict[str, set[Hashable]] = field(default_factory=dict)

    def find(self, dataset: Dataset, rows: pd.DataFrame) -> npt.NDArray[np.bool_]:
        """Whether each row has a cell of a kind that no row before it has."""
        is_first = np.zeros(len(rows), bool)
        for name, kinds in _list_kinds(dataset, rows):
            seen = self.seen.setdefault(name, set())
            first = (~kinds.duplicated() & ~kinds.isin(seen)).to_numpy()
            seen.update(kinds[first].tolist())
            is_first |= first
        return is_first


def _list_kinds(dataset: Dataset, rows: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    """The category of each cell, or the label; of a number whether it is missing, 0 or 1, or another one."""
    inputs = select_inputs(dataset, rows)
    for name in dataset.numeric:
        yield name, pd.Series(np.where(inputs[name].isna(), 0, np.where(inputs[name].isin([0, 1]), 1, 2)))
    for name in dataset.categorical:
        yield name, inputs[name]
    if dataset.task == "classification":
        yield dataset.target, rows[dataset.target]
