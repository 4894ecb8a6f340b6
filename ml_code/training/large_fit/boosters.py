"""Fits XGBoost and LightGBM on rows that lie on a disk; both give the model that they give of rows in memory."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
import pandas as pd
import xgboost
from sklearn.compose import ColumnTransformer

from ml_code.data.features import encode_target, list_classes, select_inputs
from ml_code.datasets import Dataset
from ml_code.errors import TrainingError
from ml_code.families import Family, HyperparameterValue
from ml_code.training.fitting import make_estimator
from ml_code.training.large_fit.matrix import MatrixFiles


def fit_booster(model: Any, name: str, files: MatrixFiles) -> Any:
    """Replaces the trees of a wrapper, from `make_wrapper`, by those of a fit on the files; returns the wrapper.

    Raises:
        TrainingError: the library refuses the hyperparameters or the rows, or its own files do not fit on the disk.
    """
    fit = _fit_xgboost if isinstance(model, xgboost.XGBModel) else _fit_lightgbm
    try:
        return put_booster(model, fit(model, files))
    except (xgboost.core.XGBoostError, lightgbm.basic.LightGBMError, ValueError) as error:
        traceback.clear_frames(error.__traceback__)  # they hold XGBoost's files, which go before the spool does
        raise TrainingError(
            f"{type(model).__name__} for {name}: found that the library cannot fit {sum(files.rows)} rows on the disk "
            f"({shorten(error)}), expected a fit; free space in {files.folder.parent.parent} "
            "or change the hyperparameters"
        ) from error


def shorten(error: Exception) -> str:
    """The first line of a library's message; the others are its stack."""
    return str(error).strip().partition("\n")[0][:200]


def make_wrapper(
    dataset: Dataset,
    sample: pd.DataFrame,
    preprocessor: ColumnTransformer,
    family: Family,
    hyperparameters: Mapping[str, HyperparameterValue],
    *,
    threads: int,
) -> Any:
    """The estimator, fitted on one row of each class: all but its trees is as after a fit on all rows.

    Args:
        dataset: names the target.
        sample: training rows with every class.
        preprocessor: fitted on all rows.
        family: `xgboost` or `lightgbm`.
        hyperparameters: of the family.
        threads: of the fit.
    """
    rows = sample.head(2) if dataset.task == "regression" else sample.drop_duplicates(dataset.target)
    model = make_estimator(dataset, family, hyperparameters, threads)
    target = encode_target(dataset, rows, list_classes(dataset, sample))
    return model.fit(preprocessor.transform(select_inputs(dataset, rows)), target)


def put_booster(model: Any, booster: xgboost.Booster | lightgbm.Booster) -> Any:
    """Replaces the trees of a fitted wrapper, and returns it."""
    # Neither library has a public way that leaves the other attributes as they are.
    model._Booster = booster
    return model


def make_parameters(model: Any) -> dict[str, Any]:
    """The parameters with which XGBoost's wrapper trains."""
    parameters: dict[str, Any] = model.get_xgb_params()
    if getattr(model, "n_classes_", 2) > 2:
        parameters |= {"objective": "multi:softprob", "num_class": model.n_classes_}
    return parameters


class FileIterator(xgboost.DataIter):
    """Hands the blocks to XGBoost one after the other, as often as it asks."""

    def __init__(self, files: MatrixFiles, cache: str) -> None:
        self._files, self._next = files, 0
        super().__init__(cache_prefix=cache, release_data=True)

    def reset(self) -> None:
        """Begins again."""
        self._next = 0

    def next(self, input_data: Callable[..., None]) -> bool:
        """Hands over the next block; False after the last one."""
        if self._next == len(self._files.rows):
            return False
        matrix, target = self._files.read(self._next)
        self._next += 1
        input_data(data=matrix, label=target)
        return True


def open_matrix(files: MatrixFiles, threads: int) -> xgboost.ExtMemQuantileDMatrix:
    """The rows for XGBoost, which makes files of its own beside them."""
    return xgboost.ExtMemQuantileDMatrix(FileIterator(files, str(files.folder / "xgboost")), nthread=threads)


def _fit_xgboost(model: Any, files: MatrixFiles) -> xgboost.Booster:
    return xgboost.train(make_parameters(model), open_matrix(files, model.n_jobs), model.get_num_boosting_rounds())


class FileSequence(lightgbm.Sequence):
    """A block as LightGBM reads it, in float64."""

    batch_size = 8192

    def __init__(self, files: MatrixFiles, number: int) -> None:
        self._matrix = files.read(number)[0]

    def __getitem__(self, rows: Any) -> npt.NDArray[np.float64]:
        """The rows of a slice, of positions or of one position."""
        return np.asarray(self._matrix[rows], np.float64)

    def __len__(self) -> int:
        """Rows of the block."""
        return len(self._matrix)


def _fit_lightgbm(model: Any, files: MatrixFiles) -> lightgbm.Booster:
    parameters = model._process_params(stage="fit") | {"metric": []}
    sequences = [FileSequence(files, number) for number in range(len(files.rows))]
    rows = lightgbm.Dataset(sequences, label=files.read_target(), params=parameters)
    booster = lightgbm.train(parameters, rows, model.n_estimators)
    return booster.free_dataset()
