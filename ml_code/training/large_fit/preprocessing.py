"""Fits the preprocessing on rows that are never in memory at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.compose import ColumnTransformer

from ml_code.data.features import select_inputs
from ml_code.data.large_split import LargeSplit
from ml_code.data.snapshot_blocks import SnapshotBlocks
from ml_code.datasets import Dataset
from ml_code.training.fitting import make_preprocessor


def fit_preprocessor(dataset: Dataset, blocks: SnapshotBlocks, large: LargeSplit) -> ColumnTransformer:
    """Fits medians and categories of all training rows, as `fitting.fit_pipeline` does for trees.

    A small table with the same medians and the same categories fits the same preprocessing. The sample has all
    categories. Of each number it holds the two middle values here, whose median is that of the whole column.

    Raises:
        StorageError: the snapshot is damaged.
    """
    digest = select_inputs(dataset, large.split.train)
    for name in dataset.numeric:
        middle = find_middle(np.concatenate(list(_read_numbers(blocks, large, name))))
        cells = np.full(len(digest), np.nan, np.float32)
        cells[: len(middle)] = middle[: len(digest)]
        digest[name] = cells
    return make_preprocessor(dataset, is_scaled=False).fit(digest)


def find_middle(numbers: npt.NDArray[np.float32]) -> Sequence[np.float32]:
    """The middle value of the present numbers, or the two of an even count; none of none. Reorders its argument."""
    present = numbers[~np.isnan(numbers)]
    half = len(present) // 2
    if not len(present):
        return []
    if len(present) % 2:
        present.partition(half)
        return [present[half]]
    present.partition([half - 1, half])
    return [present[half - 1], present[half]]


def read_train(
    blocks: SnapshotBlocks, large: LargeSplit, columns: Sequence[str] | None = None
) -> Iterator[pd.DataFrame]:
    """Yields the training rows of each block that has some.

    Raises:
        StorageError: the snapshot is damaged.
    """
    start = 0
    for block in blocks.read(columns):
        is_held = large.is_held_out[start : start + len(block)]
        start += len(block)
        if not is_held.all():
            yield block[~is_held].reset_index(drop=True)


def _read_numbers(blocks: SnapshotBlocks, large: LargeSplit, name: str) -> Iterator[npt.NDArray[np.float32]]:
    for rows in read_train(blocks, large, [name]):
        yield rows[name].to_numpy(np.float32)
