"""The description in every exported model file: inputs, outputs, and golden rows.

It is in the ONNX file's metadata, so serving needs one file with one digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

METADATA_KEY = "mlops_loop.spec"

LARGEST_FILE_MB = 48
"""Larger model files are neither exported nor served: opening one takes twelve times its size in memory."""

ONES = {"True": "1", "False": "0"}
"""The two spellings of a truth value."""

type Value = float | int | str | None
"""One cell of a row: None is a missing value."""

type Label = int | str
"""One class of a target, spelt as in the dataset."""


class Feature(BaseModel):
    """One column that the model reads, and one ONNX input of shape (rows, 1).

    The fields below `input` describe the rows of the training; None means that they are not known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="as people call the column")
    kind: Literal["numeric", "categorical"] = Field(
        description="numeric is float32, NaN if missing; categorical is a string, empty if missing"
    )
    input: str = Field(default="", description="identifier of the ONNX input; older files have the name here")
    categories: list[str] | None = Field(default=None, description="canonical texts, without the missing one")
    minimum: float | None = Field(default=None, description="of the catalog's check")
    maximum: float | None = Field(default=None, description="of the catalog's check")
    is_flag: bool = Field(default=False, description="whether all numbers are 0 or 1, so that true and false are read")
    has_missing: bool | None = Field(default=None, description="whether a cell was missing")
    is_required: bool = Field(default=False, description="whether the model cannot read a missing cell")
    whole: tuple[float, float] | None = Field(
        default=None, description="smallest and largest number where the model reads whole numbers alone"
    )
    log: bool = Field(default=True, description="whether its cells may be in the prediction log, by the catalog")

    @cached_property
    def truths(self) -> Mapping[str, str]:
        """Names of true and false among the categories, where training had 1 and 0; empty elsewhere."""
        known = self.categories or []
        return {} if {"True", "False"} & set(known) else {t: n for t, n in ONES.items() if n in known}

    @property
    def reads_truths(self) -> bool:
        """Whether true and false are values of this feature."""
        if self.kind == "numeric":
            return self.is_flag
        return self.categories is None or not {"True", "False", *ONES.values()}.isdisjoint(self.categories)

    @model_validator(mode="before")
    @classmethod
    def _name_input(cls, data: Any) -> Any:
        return {**data, "input": data.get("input") or data.get("name")} if isinstance(data, dict) else data


class GoldenRows(BaseModel):
    """Rows with the predictions of the file at its export; a replica replays them before it serves the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: list[list[Value]] = Field(description="cells in the order of the spec's features")
    predictions: list[float | int | str]
    probabilities: list[list[float]] | None = None


class ModelSpec(BaseModel):
    """Inputs and outputs of a model file.

    >>> ModelSpec.model_validate_json(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    dataset: str = Field(description="name of the dataset in the catalog")
    task: Literal["classification", "regression"]
    target: str
    features: list[Feature] = Field(min_length=1)
    classes: list[Label] | None = Field(
        default=None, description="label of each class id; None: the model answers labels itself"
    )
    prediction_output: str = Field(description="ONNX output of shape (rows,) or (rows, 1)")
    probabilities_output: str | None = Field(default=None, description="ONNX output (rows, classes), float32")
    unknown: Literal["warn", "refuse"] = Field(
        default="warn", description="what serving does with a cell that training did not know, by the catalog"
    )
    golden: GoldenRows
