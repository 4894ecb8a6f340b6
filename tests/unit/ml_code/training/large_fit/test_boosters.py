from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xgboost

from ml_code.data import snapshot_blocks
from ml_code.data.features import list_classes
from ml_code.data.holdout import split_holdout
from ml_code.datasets import Dataset
from ml_code.errors import TrainingError
from ml_code.families import check_hyperparameters, find_family
from ml_code.training.export import export_pipeline
from ml_code.training.fitting import fit_pipeline
from ml_code.training.large_fit.preprocessing import find_middle
from ml_code.training.rows import open_rows
from ml_code.workspace import Workspace
from tests.unit.ml_code.passengers import make_dataset, make_rows

GIVEN = {"n_estimators": 12, "subsample": 0.8, "colsample_bytree": 0.8}


def make_many(task: str, rows: int) -> pd.DataFrame:
    frame = make_rows("classification" if task == "classes" else task, rows).astype(
        {"age": "float64", "fare": "float64"}
    )
    frame.loc[frame.index[-5:], "town"] = "only here"
    if task == "classes":
        frame["outcome"] = np.where(frame["fare"] > 40, "rich", frame["outcome"])
    return frame


def fit_both(
    workspace: Workspace, folder: Path, dataset: Dataset, rows: pd.DataFrame, model_type: str
) -> tuple[bytes, bytes]:
    """The model files of a fit in memory and of one on the disk."""
    family = find_family(model_type, None, dataset.task)
    checked = check_hyperparameters(family, GIVEN)
    path = folder / "snapshot.parquet"
    rows.to_parquet(path, index=False)
    train = split_holdout(dataset, rows).train
    classes = list_classes(dataset, train)
    in_memory = export_pipeline(dataset, fit_pipeline(dataset, train, family, checked), classes, train)
    with open_rows(workspace, dataset, str(path), "external", None) as found:
        on_disk = export_pipeline(dataset, found.fit(family, checked, 1), classes, found.train)
        assert found.params["train_rows"] == len(train)
    return in_memory.content, on_disk.content


@pytest.mark.parametrize("model_type", ["xgboost", "lightgbm"])
def test_100000_rows_from_the_disk_give_the_file_that_they_give_from_memory(
    workspace: Workspace, tmp_path: Path, model_type: str
) -> None:
    rows = make_many("classification", 125_000)
    in_memory, on_disk = fit_both(workspace, tmp_path, make_dataset(), rows, model_type)
    assert hashlib.sha256(on_disk).hexdigest() == hashlib.sha256(in_memory).hexdigest()


@pytest.mark.parametrize("task", ["classes", "regression"])
@pytest.mark.parametrize("model_type", ["xgboost", "lightgbm"])
def test_many_small_blocks_give_the_same_file(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_type: str, task: str
) -> None:
    monkeypatch.setattr(snapshot_blocks, "BLOCK_ROWS", 300)
    dataset = make_dataset("regression" if task == "regression" else "classification")
    in_memory, on_disk = fit_both(workspace, tmp_path, dataset, make_many(task, 3000), model_type)
    assert on_disk == in_memory


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8])
def test_the_middle_of_numbers_has_their_median(count: int) -> None:
    numbers = np.random.default_rng(count).normal(size=count).astype(np.float32)
    with_gaps = np.insert(numbers, count // 2, np.nan)
    middle = find_middle(with_gaps)
    assert (np.median(middle) if count else None) == (np.median(numbers) if count else None)


def test_a_full_disk_in_the_fit_is_told_in_one_sentence(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise xgboost.core.XGBoostError("[12:00:00] /src/common/io.cc: No space left on device\nStack trace:\n ...")

    monkeypatch.setattr(xgboost, "train", fail)
    with pytest.raises(TrainingError, match=r"No space left on device\), expected a fit; free space in"):
        fit_both(workspace, tmp_path, make_dataset(), make_many("classification", 500), "xgboost")
