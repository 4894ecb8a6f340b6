"""Reads a snapshot in blocks of rows from a disk, so that its table is never in memory at once."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ml_code.data.spool import refuse_full
from ml_code.errors import StorageError
from ml_code.storage import SCHEME, Storage

BLOCK_ROWS = 131_072


@dataclass(frozen=True, slots=True)
class SnapshotBlocks:
    """The file of a snapshot on a disk of this machine; it may be read as often as needed."""

    uri: str
    path: Path

    def read(self, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """Yields blocks of at most `BLOCK_ROWS` rows, in order, each indexed from 0; None: all columns.

        Raises:
            StorageError: it is not a Parquet file, or a part of it is damaged.
        """
        names = None if columns is None else list(columns)
        # As a mapping the file is the disk's cache, which gives way; not memory of this process.
        with _explained(self.uri), pq.ParquetFile(self.path, memory_map=True) as file:
            for batch in file.iter_batches(BLOCK_ROWS, columns=names, use_threads=False):
                yield pa.Table.from_batches([batch]).to_pandas()

    def read_rows(self, start: int, stop: int) -> Iterator[tuple[int, pd.DataFrame]]:
        """Yields the rows from `start` to before `stop` in blocks, each with its place after `start`.

        Raises:
            StorageError: it is not a Parquet file, or a part of it is damaged.
        """
        with _explained(self.uri), pq.ParquetFile(self.path, memory_map=True) as file:
            first = 0
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if first < stop and first + rows > start:
                    yield from _cut(
                        file.iter_batches(BLOCK_ROWS, row_groups=[group], use_threads=False), first, start, stop
                    )
                first += rows


def _cut(batches: Iterable[pa.RecordBatch], first: int, start: int, stop: int) -> Iterator[tuple[int, pd.DataFrame]]:
    """The part of batches from row `first` on that lies between two rows."""
    for batch in batches:
        low, high = max(start, first), min(stop, first + batch.num_rows)
        if low < high:
            yield low - start, pa.Table.from_batches([batch.slice(low - first, high - low)]).to_pandas()
        first += batch.num_rows


@dataclass(frozen=True, slots=True)
class Shape:
    """Rows of a snapshot, and the names of its columns."""

    rows: int
    columns: Sequence[str]


def read_shape(storage: Storage, uri: str) -> Shape:
    """Reads the end of a snapshot, which describes it.

    Raises:
        StorageError: there is no such snapshot, or the store refuses, or it is not a Parquet file.
    """
    with storage.open_parts(uri) as source, _explained(uri), pq.ParquetFile(source) as file:
        return Shape(file.metadata.num_rows, list(file.schema_arrow.names))


def fetch_blocks(storage: Storage, uri: str, folder: Path) -> SnapshotBlocks:
    """Copies a snapshot of the store into a folder of this machine; one that is here already is read in place.

    Raises:
        StorageError: there is no such snapshot, the store refuses, or the disk has no room for it.
    """
    if not uri.startswith(SCHEME):
        return SnapshotBlocks(uri, Path(uri))
    found = storage.find(uri)
    refuse_full(folder, found.size_bytes if found else 0)
    path = folder / "snapshot.parquet"
    with storage.open(uri) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
    return SnapshotBlocks(uri, path)


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Turns errors of Arrow into a StorageError that names the snapshot."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise StorageError(
            f"snapshot {uri}: found a file that cannot be read ({str(error)[:200]}), expected a whole Parquet file; "
            "delete it, and prepare the dataset again"
        ) from error
