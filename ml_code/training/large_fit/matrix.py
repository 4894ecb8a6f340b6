"""The rows of a training as a model reads them, in files on a disk: a matrix and a target for each block."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.compose import ColumnTransformer

from ml_code.data.features import encode_target, select_inputs
from ml_code.data.spool import refuse_full
from ml_code.datasets import Dataset
from ml_code.model_file.spec import Label

type Matrix = npt.NDArray[np.float32]
type Target = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class MatrixFiles:
    """Files of a training in the order of its rows: each matrix has the shape (rows, `width`) and is float32."""

    folder: Path
    rows: Sequence[int]
    width: int

    def read(self, number: int) -> tuple[Matrix, Target]:
        """The matrix of a block, which is read as it is used, and its target."""
        matrix: Matrix = np.load(self.folder / f"{number}.npy", mmap_mode="r")
        return matrix, np.load(self.folder / f"{number}.target.npy")

    def read_target(self) -> Target:
        """The target of all rows."""
        return np.concatenate([np.load(self.folder / f"{number}.target.npy") for number in range(len(self.rows))])


def write_matrix(
    dataset: Dataset,
    parts: Iterable[pd.DataFrame],
    preprocessor: ColumnTransformer,
    classes: list[Label] | None,
    folder: Path,
    *,
    expected_rows: int,
) -> MatrixFiles:
    """Writes the training rows of a snapshot through the preprocessing.

    Args:
        dataset: names the features and the target.
        parts: training rows, from `read_train`.
        preprocessor: fitted by `fit_preprocessor`.
        classes: label of each class id; None for a regression.
        folder: an empty one on a disk.
        expected_rows: rows of all parts.

    Raises:
        StorageError: the disk has no room for them, or the snapshot is damaged.
    """
    folder.mkdir()
    rows: list[int] = []
    width = 0
    for number, part in enumerate(parts):
        matrix = preprocessor.transform(select_inputs(dataset, part)).astype(np.float32, copy=False)
        if not number:
            width = matrix.shape[1]
            # XGBoost writes one or two bytes a number beside these four.
            refuse_full(folder, expected_rows * width * 6)
        np.save(folder / f"{number}.npy", matrix)
        np.save(folder / f"{number}.target.npy", encode_target(dataset, part, classes))
        rows.append(len(part))
    return MatrixFiles(folder, rows, width)
