"""The linear model beside which the gate measures every other kind of model."""

from __future__ import annotations

import logging
import warnings

import pandas as pd
from sklearn.exceptions import ConvergenceWarning

from ml_code.data.features import list_classes
from ml_code.datasets import Dataset
from ml_code.errors import MlopsError
from ml_code.families import check_hyperparameters, find_family
from ml_code.training.export import export_pipeline
from ml_code.training.fitting import SEED, fit_pipeline

LINEAR = "linear"
MOST_ROWS = 20_000
"""More training rows hardly move a linear model, and must not double the time of a training: it takes a sample."""

log = logging.getLogger(__name__)


def export_linear_baseline(dataset: Dataset, train: pd.DataFrame) -> bytes | None:
    """Fits a linear model on at most `MOST_ROWS` rows and exports it; None if that fails, because nothing needs it."""
    rows = train if len(train) <= MOST_ROWS else train.sample(MOST_ROWS, random_state=SEED).reset_index(drop=True)
    family = find_family("sklearn", LINEAR, dataset.task)
    try:
        hyperparameters = check_hyperparameters(family, dataset.hyperparameters.get(LINEAR))
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            pipeline = fit_pipeline(dataset, rows, family, hyperparameters)
        return export_pipeline(dataset, pipeline, list_classes(dataset, rows), rows).content
    except MlopsError as error:
        log.warning("%s: found no linear baseline (%s), so the gate compares with a constant only", dataset.name, error)
        return None
