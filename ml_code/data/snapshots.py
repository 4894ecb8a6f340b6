"""A snapshot of a dataset: the union of its source and files as one Parquet file, named by the dataset's version."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

import pandas as pd

from ml_code.data.clean_files import CleanFiles
from ml_code.data.dropped import drop_labels, read_dropped
from ml_code.data.holdout import Split, split_holdout
from ml_code.data.large_split import split_blocks
from ml_code.data.live_rows import LIVE, PENDING
from ml_code.data.snapshot_blocks import fetch_blocks
from ml_code.data.source import load_source
from ml_code.data.spool import open_spool
from ml_code.data.union import AcceptedFile, choose_counting, write_union
from ml_code.data.versions import PresentVersion, digest_inputs, read_present, write_present
from ml_code.datasets import Dataset
from ml_code.storage import StoredObject
from ml_code.telemetry import span
from ml_code.ways import FIT, IN_MEMORY
from ml_code.workspace import Workspace

ENDING = ".parquet"

type Dropped = Mapping[str, Mapping[str, datetime]]
"""By model: the tokens whose labels do not count, and until when."""

log = logging.getLogger(__name__)


@span("prepare")
def prepare(workspace: Workspace, dataset: str) -> str:
    """Accepts the source's file and snapshots the union; nothing is read again if all of it is as at the last time.

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
    sha256 = hashlib.sha256(source.content).hexdigest()
    present = read_present(workspace, dataset)
    if present is not None and present.inputs == _digest_inputs(workspace, described, sha256)[1]:
        uri = _locate(workspace, described, present.version)
        if workspace.storage.find(uri) is not None:
            log.info("%s: source, files and rules are unchanged, snapshot %s", dataset, uri)
            return uri
    accepted = CleanFiles(workspace, described).accept(source.content, source.origin)
    log.info("%s: %d rows read from %s, %d bad", dataset, accepted.rows, source.origin, accepted.bad_rows)
    return take_snapshot(workspace, described, accepted.sha256)


def prepare_with(workspace: Workspace, dataset: str, pending: str) -> str:
    """Prepares a dataset, and returns the URI of a snapshot that has pending live rows as well.

    The other snapshots, and the record of the newest version, stay as they are.

    Raises:
        DataCheckError: the rows break the catalog's checks.
        SourceError: the source cannot be reached or read.
        StorageError: the store refuses, or there is no such pending file.
    """
    prepare(workspace, dataset)
    described, present = workspace.load_dataset(dataset), read_present(workspace, dataset)
    files = CleanFiles(workspace, described)
    names = choose_counting(files.list_names(), present.source if present else "")
    accepted = _read_files(files, [*names, pending], _read_dropped(workspace, described, [pending]))
    return _write_snapshot(workspace, described, accepted)[1]


def take_snapshot(workspace: Workspace, dataset: Dataset, source_sha256: str) -> str:
    """Writes the snapshot of the source and of all accepted files, unless it exists, and returns its URI.

    The same rows have one snapshot, in the order in which they came first.

    Raises:
        DataCheckError: no accepted file fits the present catalog.
        StorageError: the store refuses.
    """
    files = CleanFiles(workspace, dataset)
    # The digest comes first: a file that changes while the others are read makes the next call read again.
    names, inputs, dropped = _digest_inputs(workspace, dataset, source_sha256)
    version, uri = _write_snapshot(workspace, dataset, _read_files(files, names, dropped))
    write_present(workspace, dataset.name, PresentVersion(version, inputs, source_sha256))
    return uri


def _write_snapshot(workspace: Workspace, dataset: Dataset, files: Iterable[AcceptedFile]) -> tuple[str, str]:
    """Writes the union of files, unless it exists; returns its version and its URI."""
    with open_spool(workspace.settings.spool_dir) as folder:
        union = write_union(dataset, files, folder)
        uri = _locate(workspace, dataset, union.version)
        if workspace.storage.find(uri) is None:
            workspace.storage.upload(union.path, uri)
            log.info("%s: %d rows of the accepted files, snapshot %s", dataset.name, union.rows, uri)
    return union.version, uri


def find_newest(workspace: Workspace, dataset: Dataset) -> StoredObject | None:
    """Finds the snapshot of the newest version; None if the dataset has none.

    Raises:
        StorageError: the store refuses.
    """
    storage = workspace.storage
    present = read_present(workspace, dataset.name)
    if present and (found := storage.find(_locate(workspace, dataset, present.version))):
        return found
    versions = storage.list_objects(f"{workspace.places.locate_snapshots(dataset.name)}/")
    return max(versions, key=lambda version: version.modified_at, default=None)


def read_snapshot(workspace: Workspace, uri: str) -> pd.DataFrame:
    """Reads the rows of a snapshot: declared columns typed, the others text.

    Raises:
        StorageError: there is no such snapshot, or the store refuses.
    """
    return pd.read_parquet(io.BytesIO(workspace.storage.read_bytes(uri)))


def read_sides(workspace: Workspace, dataset: Dataset, tags: Mapping[str, str]) -> Split:
    """Reads the rows of a run on both sides, by the run's tags; samples of them if it was not fitted in memory.

    Raises:
        DataCheckError: one of the sides is empty, or all rows have one class.
        StorageError: there is no such snapshot, or the store refuses.
    """
    uri = tags["snapshot_uri"]
    if tags.get(FIT, IN_MEMORY) == IN_MEMORY:
        return split_holdout(dataset, read_snapshot(workspace, uri))
    with open_spool(workspace.settings.spool_dir) as folder:
        return split_blocks(dataset, fetch_blocks(workspace.storage, uri, folder)).split


def read_holdout(workspace: Workspace, tags: Mapping[str, str]) -> tuple[Dataset, pd.DataFrame]:
    """Reads the dataset and the holdout of a run, by the run's tags."""
    dataset = workspace.load_dataset(tags["dataset"])
    return dataset, read_sides(workspace, dataset, tags).holdout


def name_version(uri: str) -> str:
    """The dataset's version that a snapshot's URI names."""
    return uri.rsplit("/", 1)[-1].removesuffix(ENDING)


def _digest_inputs(workspace: Workspace, dataset: Dataset, source_sha256: str) -> tuple[list[str], str, Dropped]:
    """The names of the contents that count, the digest of everything that decides the rows, and the dropped labels."""
    objects = CleanFiles(workspace, dataset).list_objects()
    names = choose_counting(objects, source_sha256)
    dropped = _read_dropped(workspace, dataset, names)
    return names, digest_inputs(dataset, source_sha256, [objects[name] for name in names], dropped), dropped


def _read_dropped(workspace: Workspace, dataset: Dataset, names: Iterable[str]) -> Dropped:
    """The dropped tokens of each model of a dataset; a dataset without live rows needs no warehouse."""
    if not any(name.startswith((LIVE, PENDING)) for name in names):
        return {}
    models = workspace.catalog.list_models()
    return {model: read_dropped(workspace, model) for model, of in sorted(models.items()) if of == dataset.name}


def _read_files(files: CleanFiles, names: Iterable[str], dropped: Dropped) -> Iterator[AcceptedFile]:
    """Yields the accepted files, of live rows those whose label counts; one at a time is in memory."""
    for name in names:
        file, rows = files.read(name)
        yield file, drop_labels(rows, dropped.get(file.model or "", {}))


def _locate(workspace: Workspace, dataset: Dataset, version: str) -> str:
    return f"{workspace.places.locate_snapshots(dataset.name)}/{version}{ENDING}"
