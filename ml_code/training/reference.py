"""The reference of a version: rows of its training with its file's answers, to which live rows are compared."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ml_code.cells import name_category
from ml_code.data.features import select_inputs
from ml_code.data.holdout import Split
from ml_code.dataset_rules import ColumnCheck
from ml_code.datasets import Dataset
from ml_code.errors import DataCheckError
from ml_code.model_file.onnx_model import OnnxModel, Prediction
from ml_code.model_file.spec import Feature, Value

MAX_ROWS = 10_000
"""Most rows of a reference; more of them would not make a test better (docs/figures.md)."""

SEED = 18
"""Fixed, so that the same rows make the same reference."""

METADATA = b"mlops_loop.reference"


@dataclass(frozen=True, slots=True)
class Reference:
    """Rows with the columns `features` (a struct), `prediction` and `score`, as in the prediction log.

    `features` describe the members of the struct. Columns with `log = false` are not among them.
    """

    rows: pa.Table
    features: Sequence[Feature]

    def render(self) -> bytes:
        """The file that travels with the version."""
        described = [feature.model_dump(mode="json") for feature in self.features]
        rows = self.rows.replace_schema_metadata({METADATA: json.dumps({"format": 1, "features": described})})
        sink = io.BytesIO()
        pq.write_table(rows, sink, compression="zstd")
        return sink.getvalue()


def read_reference(content: bytes) -> Reference:
    """Reads the file.

    Raises:
        DataCheckError: it is not the file of a reference.
    """
    try:
        rows = pq.read_table(io.BytesIO(content))
        described = json.loads((rows.schema.metadata or {})[METADATA])
        features = [Feature.model_validate(feature) for feature in described["features"]]
        return Reference(rows.replace_schema_metadata(None), features)
    except (pa.ArrowException, ValueError, KeyError, TypeError) as error:
        raise DataCheckError(
            f"reference.parquet: found no reference ({str(error)[:200]}), expected the file that a training stores; "
            "train again"
        ) from error


def make_reference(dataset: Dataset, split: Split, model: OnnxModel) -> Reference:
    """Draws rows of both sides, and predicts those of the holdout with the file that answers requests.

    Training rows have no answer: a model is surer of rows that it has learnt than it will be of any live row.
    """
    known = pd.concat([split.train, split.holdout], ignore_index=True)
    places = np.sort(np.random.default_rng(SEED).permutation(len(known))[:MAX_ROWS])
    inputs = select_inputs(dataset, known.iloc[places])
    held_out = places >= len(split.train)
    answers = predict_some(model, inputs, held_out)
    logged = [feature for feature in model.spec.features if is_logged(dataset, feature)]
    return Reference(build_rows({f.name: make_cells(f, inputs[f.name]) for f in logged}, *answers), logged)


def is_logged(dataset: Dataset, feature: Feature) -> bool:
    """Whether the prediction log holds a feature's cells."""
    return bool(getattr(dataset.checks.columns.get(feature.name, ColumnCheck()), "log", True))


def predict_some(model: OnnxModel, inputs: pd.DataFrame, is_asked: npt.NDArray[np.bool_]) -> tuple[pa.Array, pa.Array]:
    """Predictions and scores of the marked rows; null for the others."""
    if not is_asked.any():
        kind = pa.float64() if model.spec.task == "regression" else pa.string()
        return pa.nulls(len(inputs), kind), pa.nulls(len(inputs), pa.float64())
    asked = inputs[is_asked]
    predicted = model.predict_columns({str(name): asked[name].tolist() for name in asked.columns})
    places = pa.array(np.where(is_asked, np.cumsum(is_asked) - 1, 0), mask=~is_asked)
    return list_answers(model, predicted).take(places), list_scores(predicted).take(places)


def list_answers(model: OnnxModel, predicted: Prediction) -> pa.Array:
    """Predictions as in the prediction log: numbers of a regression, texts of labels."""
    if model.spec.task == "regression":
        return pa.array(np.asarray(predicted.values, np.float64), from_pandas=True)
    return pa.array([name_category(value) for value in predicted.values], type=pa.string())


def list_scores(predicted: Prediction) -> pa.Array:
    """The probability of the answered class; null where a model has none."""
    found = find_confidence(predicted)
    return pa.nulls(len(predicted.values), pa.float64()) if found is None else pa.array(found, from_pandas=True)


def find_confidence(predicted: Prediction) -> npt.NDArray[np.float64] | None:
    """The probability of each row's answered class, shape (rows,); None where a model has none.

    A file of another framework may answer another class than the most probable one, such as by a border of its own.
    """
    if predicted.probabilities is None:
        return None
    shares = predicted.probabilities.astype(np.float64)
    if predicted.classes is None:
        return np.asarray(shares.max(axis=1))
    places: dict[Value, int] = {label: place for place, label in enumerate(predicted.classes)}
    return np.asarray(shares[np.arange(len(shares)), [places[value] for value in predicted.values]])


def make_cells(feature: Feature, cells: pd.Series) -> pa.Array:
    """A column as in the prediction log: a missing cell is null."""
    if feature.kind == "numeric":
        return pa.array(cells.to_numpy(np.float64), from_pandas=True)
    return pa.array([cell or None for cell in cells.tolist()], type=pa.string())


def build_rows(cells: dict[str, pa.Array], answers: pa.Array, scores: pa.Array) -> pa.Table:
    """The table of a reference; it has no column `features` where the log has no feature."""
    struct = {"features": pa.StructArray.from_arrays([*cells.values()], names=[*cells])} if cells else {}
    return pa.table({**struct, "prediction": answers, "score": scores})
