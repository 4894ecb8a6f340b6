"""The description that every exported model file carries: what goes in, what comes out, and golden answers.

It stands in the ONNX file's own metadata, so that one file with one digest is all that serving needs.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

METADATA_KEY = "mlops_loop.spec"

LARGEST_FILE_MB = 48
"""Larger model files are neither exported nor served: opening one takes twelve times that for a moment."""

type Value = float | int | str | None
"""One cell of a row: None is a missing value."""

type Label = int | str
"""One class of a target as the dataset spells it."""


class Feature(BaseModel):
    """One column that the model reads, which is also the name of one ONNX input of shape (rows, 1)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Literal["numeric", "categorical"] = Field(
        description="numeric is float32 with NaN where missing; categorical is a string, empty where missing"
    )


class GoldenRows(BaseModel):
    """Rows with the answers that the file gave when it was exported; replayed before a file may serve."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: list[list[Value]] = Field(description="cells in the order of the spec's features")
    predictions: list[float | int | str]
    probabilities: list[list[float]] | None = None


class ModelSpec(BaseModel):
    """What goes into a model file and what comes out.

    >>> ModelSpec.model_validate_json(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    dataset: str = Field(description="name of the dataset in the catalog whose schema this is")
    task: Literal["classification", "regression"]
    target: str
    features: list[Feature] = Field(min_length=1)
    classes: list[Label] | None = Field(
        default=None, description="label of each class id that the file answers; None: it answers labels itself"
    )
    prediction_output: str = Field(description="ONNX output of shape (rows,) or (rows, 1)")
    probabilities_output: str | None = Field(default=None, description="ONNX output (rows, classes), float32")
    golden: GoldenRows
