"""Fits XGBoost and LightGBM on rows that lie on a disk; both give the model that they give of rows in memory."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
import xgboost

from ml_code.datasets import Dataset
from ml_code.errors import TrainingError
from ml_code.families import Family, HyperparameterValue
from ml_code.training.fitting import make_estimator
from ml_code.training.large_fit.matrix import MatrixFiles


def fit_booster(
    dataset: Dataset,
    files: MatrixFiles,
    family: Family,
    hyperparameters: Mapping[str, HyperparameterValue],
    threads: int,
) -> Any:
    """Fits the estimator of a family on the files.

    Raises:
        TrainingError: the library refuses the hyperparameters or the rows, or its own files do not fit on the disk.
    """
    model = make_wrapper(dataset, files, family, hyperparameters, threads)
    fit = _fit_xgboost if family.name == "xgboost" else _fit_lightgbm
    try:
        # Neither wrapper takes a fitted booster in a public way that leaves its other attributes as they are.
        model._Booster = fit(model, files)
    except (xgboost.core.XGBoostError, lightgbm.basic.LightGBMError, ValueError) as error:
        traceback.clear_frames(error.__traceback__)  # they hold XGBoost's files, which go before the spool does
        raise TrainingError(
            f"{family.name} for {dataset.name}: found that the library cannot fit {sum(files.rows)} rows on the disk "
            f"({str(error).strip().splitlines()[0][:200]}), expected a fit; free space in {files.folder.parent.parent} "
            "or change the hyperparameters"
        ) from error
    return model


def make_wrapper(
    dataset: Dataset,
    files: MatrixFiles,
    family: Family,
    hyperparameters: Mapping[str, HyperparameterValue],
    threads: int,
) -> Any:
    """The estimator, fitted on one row of each class: all but its trees is as after a fit on all rows."""
    model = make_estimator(dataset, family, hyperparameters, threads)
    matrix, target = _pick_rows(dataset, files)
    model.fit(matrix, target)
    return model


def make_parameters(model: Any, files: MatrixFiles) -> dict[str, Any]:
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


def _fit_xgboost(model: Any, files: MatrixFiles) -> xgboost.Booster:
    rows = xgboost.ExtMemQuantileDMatrix(FileIterator(files, str(files.folder / "xgboost")), nthread=model.n_jobs)
    return xgboost.train(make_parameters(model, files), rows, model.get_num_boosting_rounds())


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


def _pick_rows(dataset: Dataset, files: MatrixFiles) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.generic]]:
    """Two rows of a regression, or one row of each class, two at least."""
    target = files.read_target()
    places = np.arange(2) if dataset.task == "regression" else np.unique(target, return_index=True)[1]
    matrices, starts = [], np.cumsum([0, *files.rows])
    for place in places:
        number = int(np.searchsorted(starts, place, side="right")) - 1
        matrices.append(np.array(files.read(number)[0][place - starts[number]]))
    return np.stack(matrices), target[places]
