"""What rows and models of a dataset must fulfil: `[checks]`, `[holdout]` and `[gate]` of its TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from ml_code.families import Task
from ml_code.model_file.spec import Label
from ml_code.reading.rules import ColumnName
from ml_code.sources import Part

type Metric = Literal["accuracy", "balanced_accuracy", "f1_macro", "average_precision", "r2", "rmse", "mae"]

METRICS: Mapping[Task, tuple[Metric, ...]] = {
    # The last one is of the rarer of two classes, and needs probabilities.
    "classification": ("accuracy", "balanced_accuracy", "f1_macro", "average_precision"),
    "regression": ("r2", "rmse", "mae"),
}
LOWER_IS_BETTER: frozenset[Metric] = frozenset({"rmse", "mae"})


class ColumnCheck(Part):
    """Valid cells of one column; a missing cell breaks only the check `required`."""

    minimum: float | None = Field(default=None, allow_inf_nan=False, description="smallest valid number", examples=[0])
    maximum: float | None = Field(default=None, allow_inf_nan=False, description="largest valid number", examples=[120])
    allowed: list[Label] | None = Field(
        default=None, description="the only valid values; of a target, its classes", examples=[["female", "male"]]
    )
    required: bool = Field(default=False, description="whether a missing cell is invalid", examples=[True])
    reject: bool = Field(
        default=True, description="false: a number outside of the range is counted, not rejected", examples=[False]
    )
    log: bool = Field(
        default=True, description="false: replicas do not write its cells to the prediction log", examples=[False]
    )


class Checks(Part):
    """Checks of the rows."""

    columns: dict[ColumnName, ColumnCheck] = Field(
        default_factory=dict,
        description="the valid cells of each column",
        examples=[{"age": {"minimum": 0, "maximum": 120}}],
    )
    bad_rows_share: float = Field(
        default=0.1, ge=0, le=1, description="largest accepted share of bad rows", examples=[0.05]
    )


class Holdout(Part):
    """Which rows no model trains on."""

    share: float = Field(default=0.2, gt=0, lt=1, description="share of the rows that is held out", examples=[0.34])
    seed: int = Field(default=0, description="another seed holds out other rows", examples=[43])
    columns: list[ColumnName] | None = Field(
        default=None,
        description="columns whose text decides; without it the key, or every declared column if there is no key",
        examples=[["customer"]],
    )


class Gate(Part):
    """What a model must reach, in the unit of the metric."""

    metric: Metric = Field(
        description="of a classification: " + ", ".join(METRICS["classification"])
        + "; of a regression: " + ", ".join(METRICS["regression"]),
        examples=["accuracy"],
    )  # fmt: skip
    threshold: float = Field(
        allow_inf_nan=False,
        description="what every version must reach; rmse and mae: what none may exceed",
        examples=[0.85],
    )
    minimum_improvement: float = Field(
        default=0.0,
        ge=0,
        description="how much better than the champion a model without new rows must be",
        examples=[0.001],
    )
    largest_regression: float = Field(
        default=0.02,
        ge=0,
        description="how much worse than the best so far a model of new rows may be",
        examples=[0.01],
    )
    slice_floor: float | None = Field(
        default=None,
        allow_inf_nan=False,
        description="what each category and each quartile must reach; without it nothing",
        examples=[0.7],
    )
    slice_rows: int = Field(
        default=30, ge=1, description="slices with fewer holdout rows do not count for the floor", examples=[30]
    )
