"""Exports a fitted pipeline as a model file, which the gate measures and serving opens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pandas as pd
from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
from skl2onnx import convert_sklearn, update_registered_converter
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from skl2onnx.common.shape_calculator import (
    calculate_linear_classifier_output_shapes,
    calculate_linear_regressor_output_shapes,
)
from sklearn.pipeline import Pipeline

from ml_code.data.features import select_inputs
from ml_code.datasets import Dataset
from ml_code.errors import ExportError
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.model_file.spec import LARGEST_FILE_MB, METADATA_KEY, Feature, GoldenRows, Label, ModelSpec, Value
from ml_code.model_file.tolerance import are_close, find_scale
from ml_code.training.feature_spec import describe_features, name_features, name_inputs
from ml_code.training.forest_export import convert_trees_at_once

OPSET = {"": 19, "ai.onnx.ml": 3}
GOLDEN_ROWS = 16

AGREEMENT_SHARE = 0.999
"""Least share of rows in which file and pipeline agree: in float32 one row in thousands may cross a tree's border."""

VALUE_TOLERANCE = 1e-3
"""Largest difference, in their unit plus relative, between two values that count as equal."""

TIE_TOLERANCE = 1e-5
"""Two classes whose probabilities differ by less are equally likely, and file and pipeline may name either.

A file sums the votes of some hundred trees in float32, whose numbers near 0.5 are 6e-8 apart.
"""


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """A model file and its agreement with its pipeline: share of rows, largest difference of a number."""

    content: bytes
    agreement_share: float
    largest_difference: float


def export_pipeline(
    dataset: Dataset, pipeline: Pipeline, classes: list[Label] | None, frame: pd.DataFrame
) -> ExportedModel:
    """Converts a pipeline, adds spec and golden rows, and compares the file's predictions with the pipeline's.

    Args:
        dataset: gives the schema.
        pipeline: fitted by `training.fit_pipeline`.
        classes: label of each class id; None for regression.
        frame: rows for the comparison; some become the golden rows.

    Raises:
        ExportError: the converters refuse, or file and pipeline disagree.
    """
    proto = _convert(dataset, pipeline)
    content = seal(dataset, proto, classes, frame, name_inputs(dataset))
    return _compare(dataset, OnnxModel(content), content, pipeline, select_inputs(dataset, frame))


def seal(
    dataset: Dataset,
    proto: onnx.ModelProto,
    classes: list[Label] | None,
    frame: pd.DataFrame,
    inputs: Mapping[str, str] | None = None,
) -> bytes:
    """Writes spec and golden rows into a graph with one input for each feature, and returns the model file.

    Args:
        dataset: gives the schema.
        proto: its first output is the prediction, a second one the probabilities.
        classes: label of each class id; None if the graph itself outputs labels or values.
        frame: training rows, which the spec describes; some become the golden rows.
        inputs: the graph's input of each feature, by the feature's name; None: both have the same name.

    Raises:
        ExportError: the file is too large for serving.
        ModelFileError: the graph fails on the rows.
    """
    rows = select_inputs(dataset, frame)
    golden_rows = _pick_golden_rows(dataset, rows)
    predicted = open_unsealed(dataset, proto, classes, inputs).predict_rows(golden_rows)
    golden = GoldenRows(
        rows=golden_rows,
        predictions=predicted.values,
        probabilities=None if predicted.probabilities is None else predicted.probabilities.tolist(),
    )
    features = describe_features(dataset, rows, inputs)
    content = _write_spec(proto, _make_spec(dataset, proto, classes, features, golden))
    if len(content) > LARGEST_FILE_MB * 1_000_000:
        raise ExportError(
            f"model file for {dataset.name}: found {len(content) / 1e6:.0f} MB, expected at most {LARGEST_FILE_MB}, "
            "the limit of serving; grow fewer or smaller trees, such as by min_samples_leaf or max_depth"
        )
    return content


def open_unsealed(
    dataset: Dataset,
    proto: onnx.ModelProto,
    classes: list[Label] | None,
    inputs: Mapping[str, str] | None = None,
) -> OnnxModel:
    """Opens a graph without golden rows; the arguments are those of `seal`."""
    features = name_features(dataset, inputs)
    nothing = GoldenRows(rows=[], predictions=[])
    return OnnxModel(_write_spec(proto, _make_spec(dataset, proto, classes, features, nothing)))


def is_same_label(
    probabilities: npt.NDArray[np.float64],
    predicted: npt.NDArray[np.int64],
    found: Sequence[Value],
    classes: Sequence[Label],
) -> npt.NDArray[np.bool_]:
    """Whether the file's label is the pipeline's, or as likely as it by the pipeline's own probabilities.

    Args:
        probabilities: the pipeline's, of shape (rows, classes).
        predicted: the pipeline's class ids.
        found: the file's labels.
        classes: label of each class id.
    """
    ids: dict[Value, int] = {label: number for number, label in enumerate(classes)}
    rows = np.arange(len(probabilities))
    own = probabilities[rows, predicted]
    other = probabilities[rows, np.array([ids[label] for label in found])]
    is_as_likely: npt.NDArray[np.bool_] = np.abs(own - other) <= TIE_TOLERANCE
    return is_as_likely


def _convert(dataset: Dataset, pipeline: Pipeline) -> onnx.ModelProto:
    _register_converters()
    model = pipeline.named_steps["model"]
    inputs = name_inputs(dataset)
    types: list[tuple[str, Any]] = [(inputs[name], FloatTensorType([None, 1])) for name in dataset.numeric]
    types += [(inputs[name], StringTensorType([None, 1])) for name in dataset.categorical]
    options = {id(model): {"zipmap": False}} if dataset.task == "classification" else None
    try:
        proto: onnx.ModelProto = convert_sklearn(
            _rename_columns(pipeline, inputs),
            name=dataset.name,
            initial_types=types,
            options=options,
            target_opset=OPSET,
        )
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        raise ExportError(
            f"{type(model).__name__} for {dataset.name}: found that the converters refuse it ({error}), "
            "expected an ONNX model; choose another model type or other hyperparameters"
        ) from error
    return proto


def _rename_columns(pipeline: Pipeline, inputs: Mapping[str, str]) -> Pipeline:
    """The same fitted steps, which read the columns by the identifiers of the graph."""
    preprocessor = copy(pipeline.named_steps["preprocess"])
    preprocessor.transformers_ = [
        (part, step, [inputs[name] for name in columns]) for part, step, columns in preprocessor.transformers_
    ]
    return Pipeline([("preprocess", preprocessor), ("model", pipeline.named_steps["model"])])


def _register_converters() -> None:
    """Registers the converters of the two libraries, and a faster one of forests; a repeated call is harmless."""
    from lightgbm import LGBMClassifier, LGBMRegressor  # noqa: PLC0415  seconds to import
    from xgboost import XGBClassifier, XGBRegressor  # noqa: PLC0415

    of_classifier = {"zipmap": [True, False, "columns"], "nocl": [True, False]}
    for kind, alias, shapes, convert, options in (
        (XGBClassifier, "XGBClassifier", calculate_linear_classifier_output_shapes, convert_xgboost, of_classifier),
        (XGBRegressor, "XGBRegressor", calculate_linear_regressor_output_shapes, convert_xgboost, None),
        (LGBMClassifier, "LGBMClassifier", calculate_linear_classifier_output_shapes, convert_lightgbm, of_classifier),
        (LGBMRegressor, "LGBMRegressor", calculate_linear_regressor_output_shapes, convert_lightgbm, {"split": None}),
    ):
        update_registered_converter(kind, alias, shapes, convert, options=options)
    convert_trees_at_once()


def _pick_golden_rows(dataset: Dataset, inputs: pd.DataFrame) -> list[list[Value]]:
    """Evenly spread rows, and the first row with a gap if there is one; gaps are None."""
    positions = np.unique(np.linspace(0, len(inputs) - 1, GOLDEN_ROWS).astype(int)).tolist()
    has_gap = (inputs.isna() | (inputs == "")).any(axis="columns").to_numpy()
    if has_gap.any():
        positions = sorted({*positions, int(has_gap.argmax())})
    picked = inputs.iloc[positions]
    columns = [[_to_value(cell) for cell in picked[name].tolist()] for name in dataset.features]
    return [list(row) for row in zip(*columns, strict=True)]


def _to_value(cell: float | str) -> Value:
    return None if cell == "" or cell != cell else cell  # noqa: PLR0124  NaN differs from itself


def _make_spec(
    dataset: Dataset,
    proto: onnx.ModelProto,
    classes: list[Label] | None,
    features: list[Feature],
    golden: GoldenRows,
) -> ModelSpec:
    outputs = [output.name for output in proto.graph.output]
    return ModelSpec(
        dataset=dataset.name,
        task=dataset.task,
        target=dataset.target,
        features=features,
        classes=classes,
        prediction_output=outputs[0],
        probabilities_output=outputs[1] if classes is not None and len(outputs) > 1 else None,
        unknown=dataset.unknown,
        golden=golden,
    )


def _write_spec(proto: onnx.ModelProto, spec: ModelSpec) -> bytes:
    described = onnx.ModelProto()
    described.CopyFrom(proto)
    onnx.helper.set_model_props(described, {METADATA_KEY: spec.model_dump_json()})
    content: bytes = described.SerializeToString()
    return content


def _compare(
    dataset: Dataset, model: OnnxModel, content: bytes, pipeline: Pipeline, inputs: pd.DataFrame
) -> ExportedModel:
    answers = model.predict_columns({name: inputs[name].tolist() for name in dataset.features})
    classes = model.spec.classes
    if classes is None:
        expected = np.asarray(pipeline.predict(inputs), dtype=np.float64).reshape(-1)
        found = np.asarray(answers.values, dtype=np.float64)
        difference = np.abs(expected - found)
        is_same = are_close(expected, found, VALUE_TOLERANCE, find_scale(expected))
    else:
        expected = pipeline.predict_proba(inputs)
        difference = _compare_probabilities(expected, answers.probabilities)
        is_same = is_same_label(expected, pipeline.predict(inputs), answers.values, classes)
    share = float(np.mean(is_same))
    if share < AGREEMENT_SHARE and int(np.sum(~is_same)) > 1:
        raise ExportError(
            f"model file for {dataset.name}: found agreement with its pipeline in {share:.2%} of {len(inputs)} rows, "
            f"expected {AGREEMENT_SHARE:.1%}; choose another model type or other hyperparameters"
        )
    return ExportedModel(content, share, float(np.max(difference)))


def _compare_probabilities(
    expected: npt.NDArray[np.float64], found: npt.NDArray[np.float32] | None
) -> npt.NDArray[np.float64]:
    if found is None or found.shape != expected.shape:
        shape = None if found is None else found.shape
        raise ExportError(
            f"model file: found probabilities of shape {shape}, expected {expected.shape}; choose another model type"
        )
    return np.abs(expected - found)
