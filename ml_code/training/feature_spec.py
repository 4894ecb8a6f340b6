"""Describes the features of a model file by the training rows."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ml_code.dataset_rules import ColumnCheck
from ml_code.datasets import Dataset
from ml_code.model_file.spec import Feature


def name_inputs(dataset: Dataset) -> dict[str, str]:
    """The identifier of the graph's input of each feature, by the feature's name.

    A name of a person may be that of a tensor that a converter makes, such as `label`; an identifier never is.
    """
    return {name: f"feature_{number}" for number, name in enumerate(dataset.features)}


def name_features(dataset: Dataset, inputs: Mapping[str, str] | None = None) -> list[Feature]:
    """The features with their inputs, without a description of rows; the arguments are those of `seal`."""
    ids = inputs or {}
    checks, unchecked = dataset.checks.columns, ColumnCheck()
    kinds = [*((name, "numeric") for name in dataset.numeric), *((name, "categorical") for name in dataset.categorical)]
    return [
        Feature(name=name, kind=kind, input=ids.get(name, name), log=checks.get(name, unchecked).log)
        for name, kind in kinds
    ]


def describe_features(dataset: Dataset, rows: pd.DataFrame, inputs: Mapping[str, str] | None = None) -> list[Feature]:
    """Describes the features by the training rows, as `select_inputs` returns them, and by the catalog's checks."""
    return [
        feature.model_copy(update=_describe_numbers(dataset, feature.name, rows[feature.name]))
        if feature.kind == "numeric"
        else feature.model_copy(update=_describe_categories(rows[feature.name]))
        for feature in name_features(dataset, inputs)
    ]


def _describe_numbers(dataset: Dataset, name: str, cells: pd.Series) -> dict[str, object]:
    check = dataset.checks.columns.get(name) or ColumnCheck()
    present = cells.dropna()
    return {
        "minimum": check.minimum,
        "maximum": check.maximum,
        "is_flag": not present.empty and bool(present.isin([0, 1]).all()),
        "has_missing": len(present) < len(cells),
    }


def _describe_categories(cells: pd.Series) -> dict[str, object]:
    distinct = set(cells.unique().tolist())
    return {"categories": sorted(distinct - {""}), "has_missing": "" in distinct}
