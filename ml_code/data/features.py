"""From rows to the inputs and the target of a model."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml_code.cells import name_category
from ml_code.datasets import Dataset
from ml_code.errors import DataCheckError
from ml_code.model_file.spec import Label
from ml_code.reading.numbers import read_numbers


def select_inputs(dataset: Dataset, frame: pd.DataFrame) -> pd.DataFrame:
    """The feature columns as a model file reads them: numeric float32 (NaN missing), categorical str ("" missing)."""
    numeric = {name: frame[name].astype(np.float32) for name in dataset.numeric}
    categorical = {name: name_categories(frame[name]).astype(object) for name in dataset.categorical}
    return pd.DataFrame({**numeric, **categorical}, index=frame.index)


def read_as_numbers(dataset: Dataset, cells: pd.Series) -> pd.Series:
    """A column that a model reads as numbers; one that the catalog no longer declares so has texts of people.

    Raises:
        DataCheckError: a text is not a number in the form of the dataset's files.
    """
    name = str(cells.name)
    markers = dataset.reading.list_markers(name, is_number=True)
    found = read_numbers(cells, dataset.reading.find_form(name), markers)
    if found.is_bad.any():
        raise DataCheckError(
            f"column {name}: found {int(found.is_bad.sum())} texts, expected numbers, "
            "as the model reads this column; train again"
        )
    return found.numbers


def name_categories(cells: pd.Series) -> pd.Series:
    """The canonical text of each cell, "" if missing; each distinct text is named once."""
    if cells.dtype == object:  # pandas takes objects for equal that differ after a NUL, or are 1 and True
        texts = [name_category(cell) for cell in cells.where(cells.notna(), None)]
        return pd.Series(texts, index=cells.index, name=cells.name, dtype=object)
    codes, distinct = pd.factorize(cells, use_na_sentinel=True)
    names = np.array([*map(name_category, distinct.tolist()), ""], dtype=object)
    return pd.Series(names[codes], index=cells.index, name=cells.name)


def list_classes(dataset: Dataset, frame: pd.DataFrame) -> list[Label] | None:
    """The sorted labels; a model answers their positions. None for regression."""
    if dataset.task == "regression":
        return None
    labels: list[Label] = sorted(frame[dataset.target].unique().tolist())
    return labels


def encode_target(dataset: Dataset, frame: pd.DataFrame, classes: list[Label] | None) -> npt.NDArray[np.generic]:
    """Class ids as int64 or values as float32, the types of an ONNX model."""
    if classes is None:
        return frame[dataset.target].to_numpy(dtype=np.float32)
    ids = {label: number for number, label in enumerate(classes)}
    return np.array([ids[label] for label in frame[dataset.target].tolist()], dtype=np.int64)
