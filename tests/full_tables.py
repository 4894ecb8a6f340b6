"""The shipped tables whole, and a model of any family trained on one of them."""

from __future__ import annotations

import os
from pathlib import Path

from ml_code.data import features, holdout
from ml_code.data.snapshots import prepare, read_snapshot
from ml_code.datasets import Dataset, load_dataset
from ml_code.families import FAMILIES, check_hyperparameters, find_family
from ml_code.training.export import ExportedModel, export_pipeline
from ml_code.training.fitting import fit_pipeline
from ml_code.workspace import open_workspace
from tests.offline_settings import make_offline_settings


def read_table(name: str, folder: Path) -> tuple[Dataset, holdout.Split]:
    """A dataset and its rows, prepared into a folder.

    The files `titanic.csv` and `housing.csv` come from the folder that TEST_TABLES names, or from their addresses.

    Raises:
        SourceError: neither is reached.
    """
    tables = Path(os.environ.get("TEST_TABLES", "/nowhere"))
    workspace = open_workspace(make_offline_settings(folder, datasets_dir=tables))
    dataset = load_dataset(name)
    return dataset, holdout.split_holdout(dataset, read_snapshot(workspace, prepare(workspace, name)))


def train_family(dataset: Dataset, split: holdout.Split, name: str) -> ExportedModel:
    """Trains with the dataset's own hyperparameters; file and pipeline are compared on the holdout."""
    family = find_family(*FAMILIES[name], dataset.task)
    figures = check_hyperparameters(family, dataset.hyperparameters.get(name))
    pipeline = fit_pipeline(dataset, split.train, family, figures, threads=2)
    return export_pipeline(dataset, pipeline, features.list_classes(dataset, split.train), split.holdout)
