"""Fits a pipeline of one family, preprocessing and estimator, on the training rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from ml_code.data.features import encode_target, list_classes, select_inputs
from ml_code.datasets import Dataset
from ml_code.errors import TrainingError
from ml_code.families import Family, HyperparameterValue

SEED = 42
"""Seed of every estimator: the same rows and hyperparameters give the same model."""


def fit_pipeline(
    dataset: Dataset,
    train: pd.DataFrame,
    family: Family,
    hyperparameters: Mapping[str, HyperparameterValue],
    threads: int = 1,
    *,
    weights: npt.NDArray[np.float64] | None = None,
) -> Pipeline:
    """Fits preprocessing and estimator; the pipeline predicts class ids (see `list_classes`) or values.

    Only the estimator weighs rows; without weights all weigh the same.

    Raises:
        TrainingError: the library refuses the hyperparameters or the rows.
    """
    pipeline = Pipeline(
        [
            ("preprocess", make_preprocessor(dataset, is_scaled=family.name == "linear")),
            ("model", make_estimator(dataset, family, hyperparameters, threads)),
        ]
    )
    target = encode_target(dataset, train, list_classes(dataset, train))
    options = {} if weights is None else {"model__sample_weight": weights}
    try:
        return pipeline.fit(select_inputs(dataset, train), target, **options)
    except ValueError as error:
        raise TrainingError(
            f"{family.name} for {dataset.name}: found that the library refuses {dict(hyperparameters)} "
            f"on {len(train)} rows ({error}), expected a fit; change the hyperparameters or the rows"
        ) from error


def make_preprocessor(dataset: Dataset, *, is_scaled: bool) -> ColumnTransformer:
    """Fills gaps and encodes categories; a missing category counts as a separate category.

    Args:
        dataset: names the features.
        is_scaled: only for linear models: before trees, scaling would move the borders of splits in float32.
    """
    steps = [("impute", SimpleImputer(strategy="median", keep_empty_features=True))]
    if is_scaled:
        steps.append(("scale", StandardScaler()))
    parts = []
    if dataset.numeric:
        parts.append(("numeric", Pipeline(steps), dataset.numeric))
    if dataset.categorical:
        encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32)
        parts.append(("categorical", encoder, dataset.categorical))
    return ColumnTransformer(parts)


def make_estimator(
    dataset: Dataset, family: Family, hyperparameters: Mapping[str, HyperparameterValue], threads: int
) -> Any:
    """Makes the unfitted estimator; each library is imported only where it is used."""
    values: dict[str, Any] = dict(hyperparameters)
    is_classifier = dataset.task == "classification"
    match family.name:
        case "random_forest":
            from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor  # noqa: PLC0415

            forest = RandomForestClassifier if is_classifier else RandomForestRegressor
            return forest(random_state=SEED, n_jobs=threads, **values)
        case "gradient_boosting":
            from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor  # noqa: PLC0415

            boosting = GradientBoostingClassifier if is_classifier else GradientBoostingRegressor
            return boosting(random_state=SEED, **values)
        case "linear":
            from sklearn.linear_model import LogisticRegression, Ridge  # noqa: PLC0415

            linear = LogisticRegression if is_classifier else Ridge
            return linear(random_state=SEED, **values)
        case "xgboost":
            import xgboost  # noqa: PLC0415

            boosted = xgboost.XGBClassifier if is_classifier else xgboost.XGBRegressor
            return boosted(random_state=SEED, n_jobs=threads, tree_method="hist", **values)
        case _:
            import lightgbm  # noqa: PLC0415

            light = lightgbm.LGBMClassifier if is_classifier else lightgbm.LGBMRegressor
            # Without bagging_freq LightGBM ignores `subsample`.
            return light(
                random_state=SEED, n_jobs=threads, verbose=-1, subsample_freq=1, importance_type="gain", **values
            )


def rank_features(dataset: Dataset, pipeline: Pipeline) -> dict[str, float]:
    """Share of each feature in the fitted model; the shares sum to 1, and categories count for their column."""
    model = pipeline.named_steps["model"]
    columns = _list_columns(dataset, pipeline)
    weights = getattr(model, "feature_importances_", None)
    if weights is None:
        weights = abs(model.coef_).reshape(-1, len(columns)).mean(axis=0)
    shares = dict.fromkeys(dataset.features, 0.0)
    for column, weight in zip(columns, weights, strict=True):
        shares[column] += float(weight)
    total = sum(shares.values()) or 1.0
    return {name: share / total for name, share in shares.items()}


def _list_columns(dataset: Dataset, pipeline: Pipeline) -> list[str]:
    """The feature behind each number that the estimator reads: a category has one number for each known text."""
    columns = list(dataset.numeric)
    if dataset.categorical:
        encoder = pipeline.named_steps["preprocess"].named_transformers_["categorical"]
        for name, known in zip(dataset.categorical, encoder.categories_, strict=True):
            columns += [name] * len(known)
    return columns
