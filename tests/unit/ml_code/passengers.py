"""A small table with everything that iris lacks: categories, gaps, text labels, and a number to predict."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ml_code.data.features import list_classes
from ml_code.data.validation import check_rows
from ml_code.datasets import Dataset
from ml_code.families import find_family
from ml_code.training.export import export_pipeline
from ml_code.training.fitting import fit_pipeline

PASSENGERS = """
name = "passengers"
task = "classification"
target = "outcome"
numeric = ["age", "fare"]
categorical = ["town", "sex"]
source = { kind = "file", path = "passengers.csv" }
gate = { metric = "accuracy", threshold = 0.7 }
"""
"""Their file in a catalog."""


def make_dataset(task: str = "classification", **changes: object) -> Dataset:
    """Passengers with a gap here and there: two numbers, two categories, a text or a number to predict."""
    described = {
        "name": "passengers",
        "task": task,
        "target": "outcome",
        "numeric": ["age", "fare"],
        "categorical": ["town", "sex"],
        "source": {"kind": "file", "path": "passengers.csv"},
        "gate": {"metric": "accuracy" if task == "classification" else "r2", "threshold": 0.7},
    }
    return Dataset.model_validate(described | changes)


def make_typed_rows(task: str = "classification", rows: int = 400) -> pd.DataFrame:
    """The same rows with numbers as numbers, as a Parquet file has them."""
    return make_rows(task, rows).astype({"age": "float64", "fare": "float64"})


def train_passengers(task: str = "classification") -> bytes:
    """The file of a linear model of them."""
    dataset = make_dataset(task)
    rows = check_rows(dataset, make_rows(task)).good
    pipeline = fit_pipeline(dataset, rows, find_family("sklearn", "linear", dataset.task), {})
    return export_pipeline(dataset, pipeline, list_classes(dataset, rows), rows).content


def make_rows(task: str = "classification", rows: int = 400) -> pd.DataFrame:
    """Text cells as a CSV gives them; every seventh age and eleventh town is missing."""
    random = np.random.default_rng(0)
    age, fare = random.uniform(0, 80, rows).round(1), random.exponential(30, rows).round(2)
    town, sex = random.choice(["S", "C", "Q"], rows), random.choice(["male", "female"], rows)
    score = 2 * (sex == "female") + age / 40 + random.normal(0, 0.2, rows)
    outcome = np.where(score > 2, "alive", "dead") if task == "classification" else (100 * score).round(3)
    frame = pd.DataFrame({"age": age, "fare": fare, "town": town, "sex": sex, "outcome": outcome}).astype("str")
    frame.loc[::7, "age"] = None
    frame.loc[::11, "town"] = None
    return frame
