"""A snapshot of a dataset: all its accepted files as one Parquet file, named by the dataset's version."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Mapping

import pandas as pd

from ml_code.data.clean_files import SOURCE, CleanFile, CleanFiles
from ml_code.data.holdout import split_holdout
from ml_code.data.source import load_source
from ml_code.data.validation import check_rows, narrow_target
from ml_code.datasets import Dataset
from ml_code.errors import DataCheckError
from ml_code.workspace import Workspace

VERSION_LENGTH = 16
"""Hex digits of a dataset's version: enough for a billion versions without a collision."""

log = logging.getLogger(__name__)


def prepare(workspace: Workspace, dataset: str) -> str:
    """Accepts the source's file and snapshots all accepted files.

    Returns:
        The snapshot's URI, which names the dataset's version.

    Raises:
        CatalogError: the dataset is not in the catalog, or its file is broken.
        SourceError: the source cannot be reached or read.
        DataCheckError: the rows break the catalog's checks.
        StorageError: the store refuses.
    """
    described = workspace.load_dataset(dataset)
    source = load_source(workspace, described)
    # On every call, which is quick: bad rows may be good under the checks of today.
    accepted = CleanFiles(workspace, described).accept(source.content, source.origin)
    log.info("%s: %d rows read from %s, %d bad", dataset, accepted.rows, source.origin, accepted.bad_rows)
    return take_snapshot(workspace, described, accepted.sha256)


def take_snapshot(workspace: Workspace, dataset: Dataset, source_sha256: str) -> str:
    """Writes the snapshot of the source and of all accepted files, unless it exists, and returns its URI.

    Raises:
        DataCheckError: no accepted file fits the present catalog.
        StorageError: the store refuses.
    """
    files, storage = CleanFiles(workspace, dataset), workspace.storage
    source = SOURCE + source_sha256
    names = [name for name in files.list_names() if name == source or not name.startswith(SOURCE)]
    uri = f"{workspace.places.locate_snapshots(dataset.name)}/{make_version(dataset, names)}.parquet"
    if storage.find(uri) is None:
        buffer = io.BytesIO()
        rows = unite(dataset, [files.read(name) for name in names])
        rows.to_parquet(buffer, index=False)
        storage.write_bytes(uri, buffer.getvalue())
        log.info("%s: %d rows of %d accepted files, snapshot %s", dataset.name, len(rows), len(names), uri)
    return uri


def read_snapshot(workspace: Workspace, uri: str) -> pd.DataFrame:
    """Reads the rows of a snapshot: declared columns typed, the others text.

    Raises:
        StorageError: there is no such snapshot, or the store refuses.
    """
    return pd.read_parquet(io.BytesIO(workspace.storage.read_bytes(uri)))


def read_holdout(workspace: Workspace, tags: Mapping[str, str]) -> tuple[Dataset, pd.DataFrame]:
    """Reads the dataset and the holdout of a run, by the run's tags."""
    dataset = workspace.load_dataset(tags["dataset"])
    return dataset, split_holdout(dataset, read_snapshot(workspace, tags["snapshot_uri"])).holdout


def name_version(uri: str) -> str:
    """The dataset's version that a snapshot's URI names."""
    return uri.rsplit("/", 1)[-1].removesuffix(".parquet")


def make_version(dataset: Dataset, names: list[str]) -> str:
    """Digest of the set of accepted files and of the rules for their rows: columns and checks."""
    rules = dataset.model_dump(mode="json", include={"task", "target", "numeric", "categorical", "key", "checks"})
    text = json.dumps([sorted(name.removeprefix(SOURCE) for name in names), rules], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:VERSION_LENGTH]


def unite(dataset: Dataset, files: list[tuple[CleanFile, pd.DataFrame]]) -> pd.DataFrame:
    """Unites accepted files: the newest row of each key, or each distinct row if there is no key.

    Their rows are checked again, because the catalog may have changed since their acceptance.

    Raises:
        DataCheckError: no row of them fits the present catalog.
    """
    parts = []
    for file, frame in sorted(files, key=lambda part: (part[0].accepted_at, part[0].sha256)):
        try:
            checked = check_rows(dataset, frame)
        except DataCheckError as error:
            log.warning("%s: %s is left out of the snapshot: %s", dataset.name, file.origin, error)
            continue
        if checked.bad:
            log.warning("%s: %d rows of %s break the present checks", dataset.name, len(checked.bad), file.origin)
        parts.append(checked.good)
    if not any(len(part) for part in parts):
        raise DataCheckError(
            f"{dataset.name}: found {len(files)} accepted files and no row in them that fits the catalog, "
            "expected at least one; fix the catalog, or bring a file by `mlops dataset put`"
        )
    subset = [dataset.key] if dataset.key else dataset.columns
    rows = pd.concat(parts, ignore_index=True).drop_duplicates(subset=subset, keep="last", ignore_index=True)
    return narrow_target(dataset, rows)
