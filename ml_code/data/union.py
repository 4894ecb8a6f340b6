"""The union of a dataset's source and accepted files: which of their rows count.

Without a key every row counts, and each content once. With a key the newest row of each key counts. A file is newer
than the source, however late the source changes, and newer than the files that were accepted before it. Live rows have
a key of their own, so they never replace another row.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ml_code.data.clean_files import SOURCE, CleanFile, CleanFiles
from ml_code.data.live_rows import LIVE, LIVE_ID, PENDING, describe_live
from ml_code.data.validation import check_rows, find_whole_labels
from ml_code.data.versions import VersionDigest, digest_rows, read_present
from ml_code.datasets import Dataset
from ml_code.errors import DataCheckError
from ml_code.workspace import Workspace

type AcceptedFile = tuple[CleanFile, pd.DataFrame]

log = logging.getLogger(__name__)


def choose_counting(names: Iterable[str], source_sha256: str) -> list[str]:
    """The names of the contents that count: every file, and the source's present state unless it is one of them.

    Pending live rows count only for the retraining that wrote them.
    """
    files = [name for name in names if not name.startswith((SOURCE, PENDING))]
    source = SOURCE + source_sha256
    return files if source_sha256 in files or source not in names else [source, *files]


@dataclass(frozen=True, slots=True)
class Union:
    """A snapshot's file on this machine, its rows, and the dataset's version that they are."""

    path: Path
    rows: int
    version: str


def write_union(dataset: Dataset, files: Iterable[AcceptedFile], folder: Path) -> Union:
    """Writes the union of accepted files as one Parquet file: every row, or the newest row of each key.

    Their rows are checked again, because the catalog may have changed since their acceptance. One file at a time is in
    memory, and of the others the keys only.

    Args:
        dataset: declares the columns.
        files: in any order.
        folder: an empty one on a disk.

    Raises:
        DataCheckError: no row of them fits the present catalog.
    """
    parts, left_out = _write_parts(dataset, files, folder)
    if not any(part.rows for part in parts):
        raise DataCheckError(
            f"{dataset.name}: found {len(parts) + left_out} accepted files and no row in them that fits the catalog, "
            "expected at least one; fix the catalog, or bring a file by `mlops dataset put`"
        )
    parts.sort(key=lambda part: (part.file.is_live, name_age(part.file)))
    newest = list(_find_newest(parts))
    dtypes = _find_dtypes(dataset, parts, newest)
    path, version, rows = folder / "union.parquet", VersionDigest(dataset, dtypes), 0
    with closing(_Writer(path)) as writer:
        for part, is_newest in zip(parts, newest, strict=True):
            kept = pd.read_parquet(part.path)[is_newest]
            whole = kept.reindex(columns=dtypes.index).astype(dtypes.to_dict()).reset_index(drop=True)
            part.path.unlink()
            version.add(whole)
            writer.write(whole)
            rows += len(whole)
    return Union(path, rows, version.finish())


def name_age(file: CleanFile) -> tuple[bool, str, str]:
    """Sorts files from the oldest to the newest; the source is older than any other."""
    return not file.is_source, file.accepted_at, file.sha256


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of one file that fit the catalog, on this machine."""

    file: CleanFile
    path: Path
    rows: int
    keys: pd.Series | None
    is_whole: npt.NDArray[np.bool_]
    empty: pd.DataFrame


def _write_parts(dataset: Dataset, files: Iterable[AcceptedFile], folder: Path) -> tuple[list[_Part], int]:
    """The parts, and how many files are left out because they break the present catalog."""
    parts: list[_Part] = []
    left_out = 0
    for number, (file, frame) in enumerate(files):
        rows = _check_again(dataset, file, frame)
        if rows is None:
            left_out += 1
            continue
        path = folder / f"{number}.parquet"
        rows.to_parquet(path, index=False)
        key = LIVE_ID if file.is_live else dataset.key
        keys = None if key is None else rows[key].reset_index(drop=True)
        parts.append(_Part(file, path, len(rows), keys, find_whole_labels(dataset, rows), rows.head(0)))
    return parts, left_out


def _find_newest(parts: Sequence[_Part]) -> Iterator[npt.NDArray[np.bool_]]:
    """Yields for each part which of its rows no later one replaces; those without a key all stay."""
    for is_live in (False, True):
        same = [part for part in parts if part.file.is_live == is_live]
        keys = [part.keys for part in same if part.keys is not None]
        if not keys:
            yield from (np.ones(part.rows, bool) for part in same)
            continue
        is_newest = ~pd.concat(keys, ignore_index=True).duplicated(keep="last").to_numpy()
        yield from np.split(is_newest, np.cumsum([part.rows for part in same])[:-1])


def _find_dtypes(dataset: Dataset, parts: Sequence[_Part], newest: Sequence[npt.NDArray[np.bool_]]) -> pd.Series:
    """The dtype of each column of all parts; that of the target is int64 if all of its rows have whole labels."""
    dtypes = pd.concat([part.empty for part in parts], ignore_index=True).dtypes
    dtypes[[pd.api.types.is_object_dtype(dtype) for dtype in dtypes]] = pd.StringDtype(na_value=np.nan)
    if all(part.is_whole[kept].all() for part, kept in zip(parts, newest, strict=True)):
        dtypes[dataset.target] = np.dtype("int64")
    return dtypes


class _Writer:
    """Appends frames of the same columns to one Parquet file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: pq.ParquetWriter | None = None

    def write(self, rows: pd.DataFrame) -> None:
        table = pa.Table.from_pandas(rows, schema=self._file and self._file.schema, preserve_index=False)
        if self._file is None:
            self._file = pq.ParquetWriter(self._path, table.schema)
        self._file.write_table(table)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class CountingContent:
    """The contents that count in the present union of a dataset; read once for a batch of incoming files."""

    def __init__(self, workspace: Workspace, dataset: Dataset) -> None:
        self._dataset = dataset
        self._files = CleanFiles(workspace, dataset)
        present = read_present(workspace, dataset.name)
        self._source = present.source if present else ""
        self._newest: dict[Any, bytes] | None = None

    def find(self, sha256: str) -> CleanFile | None:
        """Finds the accepted file, or the present source, of this content; None if a row of it does not count.

        Bringing such a content again would change nothing.

        Raises:
            StorageError: the store refuses.
        """
        name = self._find_name(sha256)
        if name is None:
            return None
        file, stored = self._files.read(name)
        for _, rows in _check_in_order(self._dataset, [(file, stored)]):
            if len(rows) == len(stored) and self._are_newest(rows):
                return file
        return None

    def add(self, file: CleanFile) -> None:
        """Counts a file that was just accepted.

        Raises:
            StorageError: the store refuses.
        """
        if self._newest is not None:
            self._newest |= self._digest_keys([file.sha256])

    def _find_name(self, sha256: str) -> str | None:
        """The name of a content that counts, by look-ups of that one: each file of thousands would list them all."""
        if self._files.has(sha256):
            return sha256
        return SOURCE + sha256 if sha256 == self._source and self._files.has(SOURCE + sha256) else None

    def _are_newest(self, rows: pd.DataFrame) -> bool:
        if self._dataset.key is None:
            return True
        if self._newest is None:
            self._newest = self._digest_keys(choose_counting(self._files.list_names(), self._source))
        newest = self._newest
        return all(newest.get(key) == digest for key, digest in _digest_newest(self._dataset.key, rows).items())

    def _digest_keys(self, names: list[str]) -> dict[Any, bytes]:
        newest: dict[Any, bytes] = {}
        files = [self._files.read(name) for name in names if not name.startswith(LIVE)]
        for _, rows in _check_in_order(self._dataset, files):
            newest |= _digest_newest(str(self._dataset.key), rows)
        return newest


def _digest_newest(key: str, rows: pd.DataFrame) -> dict[Any, bytes]:
    """Digest of the last row of each key, a text or a number."""
    return dict(zip(rows[key].tolist(), digest_rows(rows), strict=True))


def _check_in_order(dataset: Dataset, files: Iterable[AcceptedFile]) -> Iterator[AcceptedFile]:
    """Yields the files from the oldest to the newest, with the rows that fit the present catalog."""
    for file, frame in sorted(files, key=lambda part: name_age(part[0])):
        rows = _check_again(dataset, file, frame)
        if rows is not None:
            yield file, rows


def _check_again(dataset: Dataset, file: CleanFile, frame: pd.DataFrame) -> pd.DataFrame | None:
    """The rows of a file that fit the present catalog; None if the file lacks a column of it."""
    try:
        checked = check_rows(describe_live(dataset) if file.is_live else dataset, frame)
    except DataCheckError as error:
        log.warning("%s: %s is left out of the snapshot: %s", dataset.name, file.origin, error)
        return None
    if checked.bad:
        log.warning("%s: %d rows of %s break the present checks", dataset.name, len(checked.bad), file.origin)
    return checked.good
