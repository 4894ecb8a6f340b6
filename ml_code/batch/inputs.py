"""The inputs of a batch: its files, and their rows as Arrow batches with the model's columns and an id."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ml_code.addresses import NamedFiles
from ml_code.data.snapshots import find_newest
from ml_code.data.validation import read_texts
from ml_code.datasets import Dataset
from ml_code.errors import DataCheckError, SourceError
from ml_code.model_file.spec import Feature
from ml_code.reading.blocks import Block
from ml_code.reading.grammar import show_columns
from ml_code.reading.numbers import read_numbers
from ml_code.reading.rules import Reading
from ml_code.reading.table import SUFFIXES, open_table
from ml_code.storage import Storage, StoredObject
from ml_code.workspace import Workspace

type Files = Storage | NamedFiles

ENDINGS = SUFFIXES

BATCH_ROWS = 65_536
"""Rows of one prediction: enough for the graph's full speed, few enough for a flat memory."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one file: the number of the first one in it, from 0, the model's columns, and what names each row.

    The ids are the key, or the row's number if there is no key. They are no column: a feature may have any name.
    """

    first: int
    columns: pa.RecordBatch
    ids: pa.Array


def list_inputs(workspace: Workspace, dataset: Dataset, input_uri: str) -> list[StoredObject]:
    """Lists the files of an address or prefix, in order; without one, the newest version of the dataset.

    Raises:
        SourceError: there is no such file.
        StorageError: a person may not name the address, or the store refuses.
    """
    files = workspace.named_files
    if not input_uri:
        if (newest := find_newest(workspace, dataset)) is None:
            raise SourceError(f"{dataset.name}: found no version of its rows, expected one; train a model of it first")
        return [newest]
    uri = files.resolve(input_uri)
    found = [file for file in files.list_objects(uri) if file.uri.endswith(ENDINGS)]
    exact = [file for file in found if file.uri == uri]
    if not found:
        raise SourceError(
            f"input {uri}: found no file of this name and none whose name starts so, "
            f"expected one that ends in {', '.join(ENDINGS)}; correct the key, or upload it"
        )
    return exact or found


def count_rows_of_groups(files: Files, uri: str) -> list[int]:
    """Counts the rows of each row group of a Parquet file.

    Raises:
        SourceError: it is not a Parquet file.
        StorageError: there is no such file, or the store refuses.
    """
    with files.open_parts(uri) as stream:
        metadata = _open_parquet(uri, stream).metadata
        return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]


def read_batches(
    files: Files,
    uri: str,
    features: Sequence[Feature],
    key: str | None = None,
    *,
    reading: Reading | None = None,
    row_groups: Sequence[int] | None = None,
    rows: Sequence[int] | None = None,
) -> Iterator[Rows]:
    """Yields batches of rows in order.

    Args:
        files: hold the file.
        uri: CSV or Parquet file.
        features: features of the model; other columns are left out.
        key: column that identifies a row; without it row numbers do.
        reading: how the dataset's files are written; None: as plain CSV.
        row_groups: row groups of a Parquet file; None: all.
        rows: row numbers of a Parquet file; None: all.

    Raises:
        DataCheckError: a column is missing, or a line is not a valid row.
        SourceError: it is neither a CSV nor a Parquet file.
        StorageError: there is no such file, or the store refuses.
    """
    names = [feature.name for feature in features]
    if not uri.endswith(".parquet"):
        yield from _read_csv(files, uri, features, key, reading or Reading())
        return
    categories = [feature.name for feature in features if feature.kind == "categorical"]
    with files.open_parts(uri) as stream:
        file = _open_parquet(uri, stream, categories)
        _refuse_columns(uri, names, file.schema_arrow.names)
        key = key if key in file.schema_arrow.names else None
        columns = list(dict.fromkeys([*names, *([key] if key else [])]))
        if rows is not None:
            table = file.read(columns=columns).take(rows).combine_chunks()
            [batch] = table.to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]
            yield Rows(0, batch.select(names), batch.column(key) if key else pa.array(rows, pa.int64()))
            return
        groups = list(range(file.num_row_groups)) if row_groups is None else list(row_groups)
        first = sum(file.metadata.row_group(number).num_rows for number in range(groups[0])) if groups else 0
        try:
            for batch in file.iter_batches(BATCH_ROWS, row_groups=groups, columns=columns):
                yield Rows(first, batch.select(names), batch.column(key) if key else _number(first, len(batch)))
                first += len(batch)
        except (pa.ArrowInvalid, OSError) as error:  # Arrow raises an OSError for a page that it cannot unpack
            raise SourceError(
                f"{uri}: found {_in_one_line(error)} after row {first}, expected rows; write the file again"
            ) from error


def _read_csv(files: Files, uri: str, features: Sequence[Feature], key: str | None, reading: Reading) -> Iterator[Rows]:
    first = 0
    with files.open(uri) as stream:
        names = [feature.name for feature in features]
        records = open_table(stream, uri, reading, names)
        _refuse_columns(uri, names, records.header)
        for block in records:
            if block.bad:
                bad = block.bad[0]
                raise DataCheckError(f"{uri}, line {bad.line}: found {bad.reason}, expected a row; correct the file")
            columns = {feature.name: _read_cells(uri, block, feature, reading) for feature in features}
            count = len(block.frame)
            is_keyed = key is not None and key in block.frame
            ids = pa.array(block.frame[key], pa.string(), from_pandas=True) if is_keyed else _number(first, count)
            yield Rows(first, pa.RecordBatch.from_pydict(columns), ids)
            first += count


def _read_cells(uri: str, block: Block, feature: Feature, reading: Reading) -> pa.Array:
    """Converts a column of text to the model's input, as training reads it."""
    cells, is_number = block.frame[feature.name], feature.kind == "numeric"
    markers = reading.list_markers(feature.name, is_number=is_number)
    if not is_number:
        return pa.array(read_texts(cells, markers), pa.string(), from_pandas=True)
    found = read_numbers(cells, reading.find_form(feature.name), markers)
    if found.is_bad.any():
        row = int(found.is_bad.to_numpy().argmax())
        raise DataCheckError(
            f"{uri}, line {block.lines[row]}, column {feature.name}: found a text of "
            f"{len(str(cells.iloc[row]))} characters, expected a number; correct the file"
        )
    return pa.array(found.numbers, pa.float64(), from_pandas=True)


def _open_parquet(uri: str, stream: io.IOBase, categories: Sequence[str] = ()) -> pq.ParquetFile:
    """Opens a Parquet file; categories stay dictionary-encoded, as in the file."""
    try:
        file = pq.ParquetFile(stream)
        # A nested column has no place among the leaves.
        leaves = {file.metadata.schema.column(number).path for number in range(file.metadata.num_columns)}
        encoded = [name for name in categories if name in leaves]
        return pq.ParquetFile(stream, metadata=file.metadata, read_dictionary=encoded) if encoded else file
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceError(f"{uri}: found {_in_one_line(error)}, expected a Parquet file; write it again") from error


def _refuse_columns(uri: str, names: Sequence[str], found: Sequence[str]) -> None:
    lacking = [name for name in names if name not in found]
    if lacking:
        raise DataCheckError(
            f"{uri}: found no column {', '.join(lacking)} among {show_columns(found, names)}, "
            f"expected {', '.join(names)}; add what is missing, the order does not matter"
        )
    twice = [name for name in names if list(found).count(name) > 1]
    if twice:
        raise DataCheckError(
            f"{uri}: found the column {', '.join(twice)} twice, expected each once; rename or drop one"
        )


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _number(first: int, count: int) -> pa.Array:
    return pa.array(np.arange(first, first + count))
