"""Turns rows into what a model file reads: the one way for a request, a table in training and a batch.

A feed has one array of shape (rows, 1) for each feature: float32 with NaN where a number is missing, or text (object)
that is empty where a category is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml_code.errors import DataCheckError
from ml_code.model_spec import Feature, Value

if TYPE_CHECKING:
    import pyarrow as pa

type Feed = Mapping[str, npt.NDArray[np.generic]]


def feed_rows(features: Sequence[Feature], rows: Sequence[Sequence[Value]]) -> Feed:
    """Of rows whose cells stand in the order of the features; None is a missing value."""
    if all(feature.kind == "numeric" for feature in features):
        matrix = np.array(rows, dtype=np.float32)  # None becomes NaN
        return {feature.name: matrix[:, i : i + 1] for i, feature in enumerate(features)}
    return feed_columns(features, {feature.name: [row[i] for row in rows] for i, feature in enumerate(features)})


def feed_columns(features: Sequence[Feature], columns: Mapping[str, Sequence[Value] | npt.NDArray[np.generic]]) -> Feed:
    """Of columns of equal length by name; None and NaN are missing values."""
    feed: dict[str, npt.NDArray[np.generic]] = {}
    for feature in features:
        column = columns[feature.name]
        if feature.kind == "numeric":
            feed[feature.name] = np.asarray(column, dtype=np.float32).reshape(-1, 1)
        else:
            texts = ["" if _is_missing(cell) else str(cell) for cell in column]
            feed[feature.name] = np.array(texts, dtype=object).reshape(-1, 1)
    return feed


def feed_batch(features: Sequence[Feature], batch: pa.RecordBatch, first_row: int = 0) -> Feed:
    """Of a batch of Arrow, which has the features among its columns, in any order.

    Args:
        features: of the model.
        batch: rows; null and NaN are missing values.
        first_row: number of the batch's first row in its file, for the errors.

    Raises:
        DataCheckError: a column is missing, or a cell is not what the model reads.
    """
    lacking = [feature.name for feature in features if feature.name not in batch.schema.names]
    if lacking:
        raise DataCheckError(
            f"columns: found no {', '.join(lacking)} among {', '.join(batch.schema.names)}, "
            f"expected {', '.join(feature.name for feature in features)}; add what is missing"
        )
    read = {"numeric": _read_numbers, "categorical": _read_texts}
    return {
        feature.name: read[feature.kind](batch.column(feature.name), feature.name, first_row).reshape(-1, 1)
        for feature in features
    }


def _read_numbers(column: pa.Array, name: str, first_row: int) -> npt.NDArray[np.float32]:
    import pyarrow as pa  # noqa: PLC0415  serving has no pyarrow and reads no batch
    import pyarrow.types as kinds  # noqa: PLC0415

    if not (kinds.is_integer(column.type) or kinds.is_floating(column.type) or kinds.is_null(column.type)):
        raise DataCheckError(f"column {name}: found {column.type}, expected numbers; write it as numbers")
    found = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        numbers: npt.NDArray[np.float32] = found.astype(np.float32)
    if np.isinf(numbers).any():
        row = int(np.argmax(np.isinf(numbers)))
        raise DataCheckError(
            f"column {name}, row {first_row + row}: found {found[row]:g}, expected a number that float32 holds; "
            "correct it"
        )
    return numbers


def _read_texts(column: pa.Array, name: str, first_row: int) -> npt.NDArray[np.object_]:
    import pyarrow as pa  # noqa: PLC0415  serving has no pyarrow and reads no batch
    import pyarrow.types as kinds  # noqa: PLC0415

    if kinds.is_floating(column.type):
        try:  # a column of whole numbers with a gap is one of floats in pandas
            column = column.cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise DataCheckError(
                f"column {name}, from row {first_row}: found {error}, expected texts or whole numbers; correct it"
            ) from error
    if kinds.is_integer(column.type) or kinds.is_null(column.type):
        column = column.cast(pa.string())
    if not kinds.is_dictionary(column.type):
        column = column.dictionary_encode()
    if not (kinds.is_string(column.type.value_type) or kinds.is_large_string(column.type.value_type)):
        raise DataCheckError(f"column {name}: found {column.type.value_type}, expected texts; write it as texts")
    # Each distinct text becomes one Python object, however many rows have it.
    try:
        texts = np.array([*column.dictionary.to_pylist(), ""], dtype=object)
    except UnicodeDecodeError as error:
        raise DataCheckError(
            f"column {name}, from row {first_row}: found {error}, expected UTF-8; write the file anew"
        ) from error
    texts[texts == None] = ""  # noqa: E711  cell by cell
    places = column.indices.fill_null(len(texts) - 1).to_numpy(zero_copy_only=False)
    cells: npt.NDArray[np.object_] = texts[places]
    return cells


def _is_missing(cell: object) -> bool:
    return cell is None or cell != cell  # noqa: PLR0124  NaN is the one value that differs from itself
