"""Predicts batches of rows and writes the answers; reading, predicting and writing run in parallel.

One thread reads, one thread writes, and several predict a batch each. The threads of the graph alone would not suffice:
what converts a batch before and after the graph takes longer than a small graph itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pyarrow.types as kinds

from ml_code.batch.inputs import Rows
from ml_code.cells import name_category
from ml_code.errors import DataCheckError
from ml_code.model_file.feed import Feed
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.model_file.spec import Feature

CATEGORY_KINDS = (
    kinds.is_string,
    kinds.is_large_string,
    kinds.is_boolean,
    kinds.is_integer,
    kinds.is_floating,
    kinds.is_decimal,
    kinds.is_null,
)
"""Arrow's types whose values have the same canonical text as in a CSV file."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Columns with the same value in every row."""

    model: str
    version: str
    predicted_at: str
    input_file: str


def write_answers(model: OnnxModel, batches: Iterable[Rows], marks: Marks, path: Path, threads: int = 1) -> int:
    """Writes `input_id`, `prediction`, `probability_<class>` and the marks of every row.

    Returns:
        Number of rows.

    Args:
        model: predicts the rows.
        batches: rows with the model's columns.
        marks: the same in every row.
        path: file to write; ends in `.parquet` or `.csv`.
        threads: batches to predict at once.

    Raises:
        DataCheckError: a cell is not what the model reads; of several bad batches the first one counts.
        SourceError: the input is not a file of rows.
        StorageError: the input cannot be read.
    """
    answers = _answer_ahead(model, batches, marks, threads)
    first = next(answers, None)
    if first is None:
        first = _make_empty(model, marks)
    rows = 0
    with _open_writer(path, first.schema) as writer, ThreadPoolExecutor(1) as pool:
        pending = None
        for answer in chain([first], answers):
            if pending is not None:
                pending.result()
            pending = pool.submit(writer.write_batch, answer)
            rows += len(answer)
        if pending is not None:
            pending.result()
    return rows


def _open_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter | pacsv.CSVWriter:
    """Numbers are written without a dictionary: searching for repeated ones takes two thirds of Parquet's time."""
    if path.suffix != ".parquet":
        return pacsv.CSVWriter(path, schema)
    repeated = [field.name for field in schema if not (kinds.is_integer(field.type) or kinds.is_floating(field.type))]
    return pq.ParquetWriter(path, schema, use_dictionary=repeated)


def _answer_ahead(model: OnnxModel, batches: Iterable[Rows], marks: Marks, threads: int) -> Iterator[pa.RecordBatch]:
    """Yields the answers in order, predicts up to `threads` batches at once, and reads one more ahead."""
    iterator = iter(batches)
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(threads) as workers:

        def begin() -> Future[pa.RecordBatch | None]:
            return workers.submit(_answer, model, reader.submit(next, iterator, None), marks)

        pending = deque(begin() for _ in range(threads + 1))
        while (answer := pending.popleft().result()) is not None:
            pending.append(begin())
            yield answer


def _answer(model: OnnxModel, read: Future[Rows | None], marks: Marks) -> pa.RecordBatch | None:
    """The answers to a batch once it is read; None after the last one."""
    batch = read.result()
    if batch is None:
        return None
    answers, probabilities = model.run(feed_batch(model.spec.features, batch.columns, batch.first))
    return _make_batch(model, batch.ids, answers, probabilities, marks)


def _make_empty(model: OnnxModel, marks: Marks) -> pa.RecordBatch:
    nothing = np.empty(0, np.int64 if model.spec.classes else np.float32)
    probabilities = np.empty((0, len(model.spec.classes)), np.float32) if model.spec.classes else None
    return _make_batch(model, pa.array([], pa.int64()), nothing, probabilities, marks)


def _make_batch(
    model: OnnxModel,
    ids: pa.Array,
    answers: npt.NDArray[np.generic],
    probabilities: npt.NDArray[np.float32] | None,
    marks: Marks,
) -> pa.RecordBatch:
    classes = model.spec.classes
    predictions = pa.array(answers) if classes is None else pa.array(classes).take(pa.array(answers))
    # The other columns never begin with `probability_`, so a label cannot take the name of one.
    columns = {"input_id": ids, "prediction": predictions}
    if probabilities is not None and classes is not None:
        columns |= {
            f"probability_{label}": pa.array(np.ascontiguousarray(probabilities[:, number]))
            for number, label in enumerate(classes)
        }
    for name, text in (
        ("model", marks.model),
        ("version", marks.version),
        ("predicted_at", marks.predicted_at),
        ("input_file", marks.input_file),
    ):
        # The text once, and a small number in each row.
        columns[name] = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(ids), np.int8)), [text])
    return pa.RecordBatch.from_pydict(columns)


def feed_batch(features: Sequence[Feature], batch: pa.RecordBatch, first_row: int = 0) -> Feed:
    """Feeds an Arrow batch, which has the features among its columns in any order.

    Args:
        features: features of the model.
        batch: rows; null and NaN are missing values.
        first_row: number of the batch's first row in its file, for error messages.

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
    feed: dict[str, npt.NDArray[np.generic]] = {}
    for feature in features:
        cells = read[feature.kind](batch.column(feature.name), feature.name, first_row)
        if feature.is_required:
            _refuse_missing(cells, feature.name, first_row)
        if feature.whole is not None:
            _refuse_fraction(cells, feature.whole, feature.name, first_row)
        feed[feature.input] = cells.reshape(-1, 1)
    return feed


def _refuse_missing(cells: npt.NDArray[np.generic], name: str, first_row: int) -> None:
    """Refuses a missing cell of a column that the model cannot read without."""
    is_missing = cells == "" if cells.dtype == object else np.isnan(cells.astype(np.float32))
    if np.any(is_missing):
        row = first_row + int(np.argmax(is_missing))
        raise DataCheckError(
            f"column {name}, row {row}: found no value, which this model does not read; fill it, or leave the row out"
        )


def _refuse_fraction(cells: npt.NDArray[np.generic], limits: tuple[float, float], name: str, first_row: int) -> None:
    """Refuses a number that a model of whole numbers would read as another one."""
    numbers = cells.astype(np.float64)
    is_unfit = ~((numbers == np.floor(numbers)) & (numbers >= limits[0]) & (numbers <= limits[1]))
    if np.any(is_unfit):
        row = int(np.argmax(is_unfit))
        raise DataCheckError(
            f"column {name}, row {first_row + row}: found {numbers[row]:g}, expected a whole number from {limits[0]:g} "
            f"to {limits[1]:g}, which alone this model reads; correct it, or leave the row out"
        )


def _read_numbers(column: pa.Array, name: str, first_row: int) -> npt.NDArray[np.float32]:
    if kinds.is_boolean(column.type):
        column = column.cast(pa.int8())
    if not (kinds.is_integer(column.type) or kinds.is_floating(column.type) or kinds.is_null(column.type)):
        raise DataCheckError(f"column {name}: found {column.type}, expected numbers; write it as numbers")
    found = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        numbers: npt.NDArray[np.float32] = found.astype(np.float32)
    if np.isinf(numbers).any():
        row = int(np.argmax(np.isinf(numbers)))
        raise DataCheckError(
            f"column {name}, row {first_row + row}: found a larger number than float32 holds, "
            "expected one that it holds; correct it"
        )
    return numbers


def _read_texts(column: pa.Array, name: str, first_row: int) -> npt.NDArray[np.object_]:
    is_encoded = kinds.is_dictionary(column.type)
    kind = column.type.value_type if is_encoded else column.type
    if not any(is_kind(kind) for is_kind in CATEGORY_KINDS):
        raise DataCheckError(f"column {name}: found {kind}, expected texts; write it as texts")
    column = column if is_encoded else column.dictionary_encode()
    # Each distinct text becomes one Python object for all its rows.
    try:
        texts = np.array([*map(name_category, column.dictionary.to_pylist()), ""], dtype=object)
    except UnicodeDecodeError as error:
        raise DataCheckError(
            f"column {name}, from row {first_row}: found {error}, expected UTF-8; write the file again"
        ) from error
    places = column.indices.fill_null(len(texts) - 1).to_numpy(zero_copy_only=False)
    cells: npt.NDArray[np.object_] = texts[places]
    return cells
