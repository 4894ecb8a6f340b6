"""The intake of files under `incoming/<dataset>/`: accepts or rejects each file, and files it away."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

from ml_code.data.clean_files import LARGEST_CSV_MB, CleanFile, CleanFiles
from ml_code.data.source import load_source
from ml_code.data.synthetic import resample_rows
from ml_code.data.union import CountingContent
from ml_code.data.validation import refuse_missing_columns
from ml_code.datasets import Dataset
from ml_code.errors import DataCheckError, SourceError
from ml_code.places import INCOMING, name_dataset
from ml_code.reading.table import SUFFIXES, open_table
from ml_code.storage import Storage, StoredObject
from ml_code.workspace import Workspace

BATCH_FILES = 100
"""Files of one task: ten thousand files become neither ten thousand tasks nor one endless task."""

MOST_FILES = 20_000
"""Files of one run, the oldest first; the next run takes the others. Airflow refuses more than 1,024 batches."""

PRODUCED_ROWS = 30

SHOWN_COLUMNS = 5

SHOWN_FILES = 5
"""Rejected files in an error, which goes to Airflow's database and to notices."""
SHOWN_FOLDERS = 20

log = logging.getLogger(__name__)


def put_file(workspace: Workspace, dataset: str, path: Path) -> str:
    """Uploads a CSV file for the watcher, and returns its URI. The intake checks its rows.

    Raises:
        CatalogError: the dataset is not in the catalog, or its file is broken.
        SourceError: it is not a CSV file, or its suffix is neither .csv nor .csv.gz.
        DataCheckError: a column is missing.
        StorageError: the file cannot be read, or the store refuses.
    """
    described = workspace.load_dataset(dataset)
    _refuse_suffix(path.name)
    storage = workspace.storage
    with storage.open(str(path)) as stream:
        refuse_missing_columns(described, open_table(stream, path.name, described.reading, described.columns).header)
        stream.seek(0)
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    # Another file of this name may still be there.
    uri = workspace.places.locate_incoming(dataset, f"{digest[:8]}-{path.name}")
    storage.upload(path, uri)
    return uri


def produce_sample(workspace: Workspace, run_id: str, *, dataset: str = "iris") -> str:
    """Writes synthetic rows that resemble the dataset's source into `incoming/`; a repeated run writes the same file.

    Raises:
        StorageError: the store refuses.
    """
    described = workspace.load_dataset(dataset)
    digest = hashlib.sha256(run_id.encode()).hexdigest()
    source = load_source(workspace, described).content
    content = resample_rows(described, source, PRODUCED_ROWS, seed=int(digest[:8], 16))
    uri = workspace.places.locate_incoming(dataset, f"produced-{digest[:8]}.csv")
    workspace.storage.write_bytes(uri, content)
    return uri


def choose_files(workspace: Workspace, keys: Sequence[str]) -> list[str]:
    """The keys that an event names; without any, or with more than a run takes, the files that wait the longest.

    Raises:
        StorageError: the store refuses.
    """
    return list(keys) if 0 < len(set(keys)) <= MOST_FILES else list_waiting(workspace)


def list_waiting(workspace: Workspace, min_age_minutes: float = 0) -> list[str]:
    """Keys of the files of known datasets that wait the longest for their intake, and at least for the minimum age.

    Raises:
        StorageError: the store refuses.
    """
    newest = datetime.now(UTC) - timedelta(minutes=min_age_minutes)
    objects = workspace.storage.list_objects(workspace.places.locate_object(INCOMING))
    old = sorted((found for found in objects if found.modified_at <= newest), key=lambda found: found.modified_at)
    waiting, datasets = [workspace.places.get_key(found.uri) for found in old], workspace.catalog.datasets
    unknown = Counter(name for key in waiting if (name := name_dataset(key)) not in datasets)
    for name, count in unknown.most_common(SHOWN_FOLDERS):
        log.warning("%d file(s) of %r stay where they are: the catalog has no such dataset", count, name)
    known = [key for key in waiting if name_dataset(key) in datasets]
    if len(known) > MOST_FILES:
        log.warning("%d files wait: this run takes the %d oldest, later runs the others", len(known), MOST_FILES)
    return known[:MOST_FILES]


def plan_batches(keys: Iterable[str]) -> list[dict[str, Any]]:
    """Groups keys by dataset, the first folder of each key, in their order."""
    by_dataset: dict[str, list[str]] = {}
    for key in dict.fromkeys(keys):
        by_dataset.setdefault(name_dataset(key), []).append(key)
    return [
        {"dataset": name, "keys": names[start : start + BATCH_FILES]}
        for name, names in by_dataset.items()
        for start in range(0, len(names), BATCH_FILES)
    ]


def accept(workspace: Workspace, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Checks each file of a batch and stores the valid ones; reports the outcome of each, and moves nothing.

    Raises:
        CatalogError: there is no such dataset; its files stay in `incoming/`.
        StorageError: the store refuses.
    """
    dataset = workspace.load_dataset(batch["dataset"])
    counting = CountingContent(workspace, dataset)
    files = [_accept_file(workspace, dataset, counting, key) for key in batch["keys"]]
    for file in files:
        log.log(logging.ERROR if file["outcome"] == "rejected" else logging.INFO, "%s: %s", file["key"], file["says"])
    accepted = [file for file in files if file["outcome"] == "accepted"]
    return {
        "dataset": dataset.name,
        "files": files,
        "accepted": [file["key"] for file in accepted],
        "rows": sum(file["rows"] for file in accepted),
    }


def describe(report: Mapping[str, Any]) -> str:
    """Summary of the outcomes of a batch.

    >>> describe(report)
    'iris: 1 accepted (60 rows), 1 already loaded'
    """
    outcomes = [file["outcome"] for file in report["files"]]
    counts = [f"{outcomes.count(name)} {name}" for name in dict.fromkeys(outcomes)]
    words = ", ".join(counts).replace("accepted", f"accepted ({report['rows']} rows)", 1)
    return f"{report['dataset']}: {words}"


def file_away(workspace: Workspace, report: Mapping[str, Any]) -> None:
    """Moves accepted files to `processed/` and rejected ones to `rejected/`; a file that has changed since stays.

    Raises:
        DataCheckError: a file was rejected; all files have been moved before.
        StorageError: the store refuses.
    """
    storage, places = workspace.storage, workspace.places
    rejected = []
    for file in report["files"]:
        if file["outcome"] == "gone":
            continue
        is_rejected = file["outcome"] == "rejected"
        target = places.locate_filed(file["key"], file["sha256"], is_rejected=is_rejected)
        if not storage.move(places.locate_object(file["key"]), target, file["tag"]):
            log.info("%s stays: it is gone, or another file has its place, which the next run takes in", file["key"])
        if is_rejected:
            rejected.append(f"{target}: {file['says']}")
    if rejected:
        others = len(rejected) - SHOWN_FILES
        shown = [*rejected[:SHOWN_FILES], *([f"and {others} more, in the log of accept"] if others > 0 else [])]
        raise DataCheckError(
            f"{len(rejected)} of {len(report['files'])} files were rejected: {'; '.join(shown)}. "
            "Correct each one and upload it again"
        )


def _accept_file(workspace: Workspace, dataset: Dataset, counting: CountingContent, key: str) -> dict[str, Any]:
    uri, storage = workspace.places.locate_object(key), workspace.storage
    found = storage.find(uri)
    if found is None:
        return {"key": key, "outcome": "gone", "says": "another run filed it away"}
    if found.size_bytes > LARGEST_CSV_MB * 1_000_000:
        return {"key": key, "tag": found.tag} | _reject_unread(storage, uri)
    content = storage.read_bytes(uri)
    digest = hashlib.sha256(content).hexdigest()
    file = {"key": key, "tag": found.tag, "sha256": digest}
    try:
        _refuse_suffix(key)
        return file | _keep(CleanFiles(workspace, dataset), counting, content, digest, found)
    except (DataCheckError, SourceError) as error:
        return file | {"outcome": "rejected", "says": str(error)}


def _reject_unread(storage: Storage, uri: str) -> dict[str, Any]:
    """The outcome of a file that exceeds the memory."""
    with storage.open(uri) as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    says = f"found more than {LARGEST_CSV_MB} MB, expected at most that, which fits the memory; split the file"
    return {"sha256": digest, "outcome": "rejected", "says": says}


def _keep(
    files: CleanFiles, counting: CountingContent, content: bytes, digest: str, found: StoredObject
) -> dict[str, Any]:
    """Accepts a content as the newest file, unless all its rows count already or an interrupted step accepted it."""
    known = files.find(digest)
    if known is not None and (known.origin, known.object_tag) == (found.uri, found.tag):
        # Bad rows may be good under the checks of today, but a repeated step does not make them newer.
        return _report(files.accept(content, found.uri, found.tag, known.accepted_at) if known.bad_rows else known)
    loaded = counting.find(digest)
    if loaded and (loaded.is_source or not loaded.bad_rows):
        return _report_loaded(loaded)
    kept = files.accept(content, found.uri, found.tag)
    counting.add(kept)
    return _report_loaded(loaded) if loaded and loaded.bad_rows == kept.bad_rows else _report(kept)


def _report(kept: CleanFile) -> dict[str, Any]:
    good = kept.rows - kept.bad_rows
    says = f"{kept.rows} rows read, {good} good, {kept.bad_rows} quarantined"
    if kept.outside:
        columns = ", ".join(f"{count} of {name[:40]}" for name, count in list(kept.outside.items())[:SHOWN_COLUMNS])
        says += f"; outside of the drafted range: {columns}"
    return {"outcome": "accepted", "rows": good, "says": says}


def _report_loaded(loaded: CleanFile) -> dict[str, Any]:
    says = f"already loaded: the same content came as {loaded.origin} at {loaded.accepted_at}"
    return {"outcome": "already loaded", "says": says}


def _refuse_suffix(name: str) -> None:
    if not name.endswith(SUFFIXES):
        raise SourceError(
            f"file {PurePosixPath(name).name}: found a name without one of {', '.join(SUFFIXES)} at its end, "
            "expected one; save it as CSV with a header"
        )
