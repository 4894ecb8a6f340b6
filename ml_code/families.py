"""The families of models and their hyperparameters, by name; imports the standard library only.

DAG files and the command line list these names without importing a machine-learning library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from ml_code.errors import TrainingError

type ModelType = Literal["sklearn", "xgboost", "lightgbm"]
type Estimator = Literal["random_forest", "gradient_boosting", "linear"]
type Task = Literal["classification", "regression"]
type HyperparameterValue = int | float | str | None

MODEL_TYPES: tuple[ModelType, ...] = get_args(ModelType.__value__)
ESTIMATORS: tuple[Estimator, ...] = get_args(Estimator.__value__)
DEFAULT_ESTIMATOR: Estimator = "random_forest"
FAMILIES: Mapping[str, tuple[ModelType, Estimator | None]] = {
    **{estimator: ("sklearn", estimator) for estimator in ESTIMATORS},
    **{model_type: (model_type, None) for model_type in MODEL_TYPES if model_type != "sklearn"},
}
"""Model type and estimator of every family, by its name."""


@dataclass(frozen=True, slots=True)
class Hyperparameter:
    """What one hyperparameter accepts; bounds are inclusive."""

    kind: type[int] | type[float]
    minimum: float
    maximum: float
    choices: tuple[str, ...] = ()
    is_optional: bool = False

    def describe(self) -> str:
        """The accepted values in words."""
        words = [f"{self.kind.__name__} from {self.minimum:g} to {self.maximum:g}", *self.choices]
        return " or ".join([*words, "null"] if self.is_optional else words)

    def accepts(self, value: object) -> bool:
        """Whether it accepts a JSON value; true and false are not numbers."""
        if value is None:
            return self.is_optional
        if isinstance(value, str):
            return value in self.choices
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return (self.kind is float or isinstance(value, int)) and self.minimum <= value <= self.maximum


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of model: its names, its hyperparameters, and their defaults."""

    model_type: ModelType
    estimator: Estimator | None
    hyperparameters: Mapping[str, Hyperparameter]
    defaults: Mapping[str, HyperparameterValue] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The estimator's name, or the library's where it has one estimator only."""
        return self.estimator or self.model_type


_TREES = Hyperparameter(int, 1, 2000)
_RATE = Hyperparameter(float, 0.0001, 1)
_SHARE = Hyperparameter(float, 0.05, 1)
_PENALTY = Hyperparameter(float, 0, 10_000)
_DEPTH = Hyperparameter(int, 1, 64)

_LINEAR: Mapping[Task, Family] = {
    "classification": Family(
        "sklearn",
        "linear",
        {"C": Hyperparameter(float, 1e-6, 1e6), "max_iter": Hyperparameter(int, 1, 100_000)},
        {"max_iter": 1000},
    ),
    "regression": Family("sklearn", "linear", {"alpha": Hyperparameter(float, 0, 1e6)}),
}
_OTHERS: Mapping[tuple[ModelType, Estimator | None], Family] = {
    (family.model_type, family.estimator): family
    for family in (
        Family(
            "sklearn",
            "random_forest",
            {
                "n_estimators": _TREES,
                "max_depth": Hyperparameter(int, 1, 64, is_optional=True),
                "min_samples_split": Hyperparameter(int, 2, 10_000),
                "min_samples_leaf": Hyperparameter(int, 1, 10_000),
                "max_features": Hyperparameter(float, 0.01, 1, ("sqrt", "log2"), is_optional=True),
            },
        ),
        Family(
            "sklearn",
            "gradient_boosting",
            {
                "n_estimators": _TREES,
                "learning_rate": _RATE,
                "max_depth": _DEPTH,
                "subsample": _SHARE,
                "min_samples_leaf": Hyperparameter(int, 1, 10_000),
            },
        ),
        Family(
            "xgboost",
            None,
            {
                "n_estimators": _TREES,
                "learning_rate": _RATE,
                "max_depth": _DEPTH,
                "min_child_weight": _PENALTY,
                "gamma": _PENALTY,
                "subsample": _SHARE,
                "colsample_bytree": _SHARE,
                "reg_alpha": _PENALTY,
                "reg_lambda": _PENALTY,
            },
        ),
        Family(
            "lightgbm",
            None,
            {
                "n_estimators": _TREES,
                "learning_rate": _RATE,
                "num_leaves": Hyperparameter(int, 2, 4096),
                "max_depth": Hyperparameter(int, -1, 64),
                "min_child_samples": Hyperparameter(int, 1, 10_000),
                "subsample": _SHARE,
                "colsample_bytree": _SHARE,
                "reg_alpha": _PENALTY,
                "reg_lambda": _PENALTY,
            },
        ),
    )
}


def find_family(model_type: str, estimator: str | None, task: Task) -> Family:
    """Returns the family of these names; only sklearn has several estimators, and its default is a random forest.

    Raises:
        TrainingError: a name is unknown, or `estimator` is given for a library with one estimator.
    """
    if model_type not in MODEL_TYPES:
        raise TrainingError(
            f"model_type: found {model_type!r}, expected one of {', '.join(MODEL_TYPES)}; choose one of these"
        )
    if model_type == "sklearn":
        estimator = estimator or DEFAULT_ESTIMATOR
        if estimator not in ESTIMATORS:
            raise TrainingError(
                f"estimator: found {estimator!r}, expected one of {', '.join(ESTIMATORS)}; choose one of these"
            )
        return _LINEAR[task] if estimator == "linear" else _OTHERS[("sklearn", estimator)]
    if estimator:
        raise TrainingError(
            f"estimator: found {estimator!r} for {model_type}, expected none, because only sklearn has several; "
            "leave it out, or choose the model type sklearn"
        )
    return _OTHERS[(model_type, None)]


def check_hyperparameters(family: Family, given: Mapping[str, object] | None) -> dict[str, HyperparameterValue]:
    """Returns the family's defaults, overridden by the given values.

    Raises:
        TrainingError: a name is unknown, or a value is of the wrong type or out of bounds.
    """
    given = given or {}
    unknown = sorted(set(given) - set(family.hyperparameters))
    if unknown:
        raise TrainingError(
            f"hyperparameters of {family.name}: found the unknown {', '.join(unknown)}, "
            f"expected some of {', '.join(family.hyperparameters)}; correct or remove them"
        )
    checked = dict(family.defaults)
    for name, value in given.items():
        allowed = family.hyperparameters[name]
        if not allowed.accepts(value):
            raise TrainingError(
                f"hyperparameter {name} of {family.name}: found {value!r}, expected {allowed.describe()}; correct it"
            )
        checked[name] = value  # type: ignore[assignment]
    return checked
