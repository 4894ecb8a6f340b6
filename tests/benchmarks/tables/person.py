"""The pipeline of a person who knows the columns: pandas and scikit-learn, without this project."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.metrics import accuracy_score, balanced_accuracy_score, mean_absolute_error, r2_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder

from tests.benchmarks.tables.public_tables import PublicTable

SCORES = {
    "accuracy": accuracy_score,
    "balanced_accuracy": balanced_accuracy_score,
    "r2": r2_score,
    "mae": mean_absolute_error,
}


@dataclass(frozen=True, slots=True)
class Sides:
    """Numbers of the rows to train on and of those to predict, from 0."""

    train: list[int]
    held_out: list[int]


def score_person(table: PublicTable, frame: pd.DataFrame, sides: Sides, metric: str, seeds: range) -> float:
    """The mean score of the person's forests on the same rows, one forest for each seed.

    Args:
        table: with the person's columns.
        frame: the file as `pandas.read_csv` reads it.
        sides: the rows of the product.
        metric: that of the gate.
        seeds: of the forests.
    """
    known = frame[table.target].notna().to_numpy()
    seen, unseen = [row for row in sides.train if known[row]], [row for row in sides.held_out if known[row]]
    numeric = table.choose_numeric(frame)
    inputs = frame[[*numeric, *table.categorical]]
    target = frame[table.target]
    labels = target.astype(str) if table.task == "classification" else target.astype(float)
    scores = []
    for seed in seeds:
        pipeline = make_forest(table, numeric, seed).fit(inputs.iloc[seen], labels.iloc[seen])
        scores.append(SCORES[metric](labels.iloc[unseen], pipeline.predict(inputs.iloc[unseen])))
    return float(np.mean(scores))


def make_forest(table: PublicTable, numeric: list[str], seed: int) -> Pipeline:
    """Fills gaps, encodes categories, and fits a forest."""
    filled = SimpleImputer(strategy="constant", fill_value="missing")
    parts = ColumnTransformer(
        [
            ("numbers", SimpleImputer(strategy="median"), numeric),
            ("texts", make_pipeline(filled, OneHotEncoder(handle_unknown="ignore")), table.categorical),
        ]
    )
    forest = RandomForestClassifier if table.task == "classification" else RandomForestRegressor
    return make_pipeline(parts, forest(random_state=seed))
