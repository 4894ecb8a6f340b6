"""The space of a search: bounds of every family's hyperparameters, and the points of a grid between them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from optuna.trial import Trial

from ml_code.datasets import Dataset
from ml_code.families import Family, HyperparameterValue

GRID_POINTS = 3
"""Values of each hyperparameter in a grid."""


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds of one hyperparameter; its values are whole numbers if both bounds are."""

    low: float
    high: float
    is_log: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether its values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def list_points(self) -> list[HyperparameterValue]:
        """`GRID_POINTS` values from bound to bound."""
        space = np.geomspace if self.is_log else np.linspace
        points = space(self.low, self.high, GRID_POINTS).tolist()
        if self.is_whole:
            return [*sorted({round(point) for point in points})]
        return [float(f"{point:.6g}") for point in points]

    def suggest(self, trial: Trial, name: str) -> HyperparameterValue:
        """Draws a value for a trial."""
        if self.is_whole:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.is_log)
        return trial.suggest_float(name, self.low, self.high, log=self.is_log)


# Bounds that make a difference on tables of hundreds to hundreds of thousands of rows.
SPACES: Mapping[str, Mapping[str, Range]] = {
    "random_forest": {
        "n_estimators": Range(50, 400, is_log=True),
        "max_depth": Range(3, 24),
        "min_samples_leaf": Range(1, 20, is_log=True),
        "max_features": Range(0.2, 1.0),
    },
    "gradient_boosting": {
        "n_estimators": Range(50, 400, is_log=True),
        "learning_rate": Range(0.01, 0.3, is_log=True),
        "max_depth": Range(2, 6),
        "subsample": Range(0.5, 1.0),
    },
    "xgboost": {
        "n_estimators": Range(50, 600, is_log=True),
        "learning_rate": Range(0.01, 0.3, is_log=True),
        "max_depth": Range(2, 10),
        "subsample": Range(0.5, 1.0),
        "colsample_bytree": Range(0.5, 1.0),
    },
    "lightgbm": {
        "n_estimators": Range(50, 600, is_log=True),
        "learning_rate": Range(0.01, 0.3, is_log=True),
        "num_leaves": Range(7, 127, is_log=True),
        "min_child_samples": Range(5, 60, is_log=True),
        "colsample_bytree": Range(0.5, 1.0),
    },
}
LINEAR_SPACES: Mapping[str, Mapping[str, Range]] = {
    "classification": {"C": Range(0.001, 100.0, is_log=True)},
    "regression": {"alpha": Range(0.001, 1000.0, is_log=True)},
}


def find_space(family: Family, dataset: Dataset) -> Mapping[str, Range]:
    """The bounds of the hyperparameters of a family."""
    return LINEAR_SPACES[dataset.task] if family.name == "linear" else SPACES[family.name]


def list_grid(space: Mapping[str, Range], most: int) -> list[dict[str, HyperparameterValue]]:
    """Lists every combination of the points; if there are more than `most`, evenly picked ones."""
    points = [
        dict(zip(space, values, strict=True))
        for values in itertools.product(*(span.list_points() for span in space.values()))
    ]
    if len(points) <= most:
        return points
    return [points[place] for place in np.linspace(0, len(points) - 1, most).round().astype(int)]
