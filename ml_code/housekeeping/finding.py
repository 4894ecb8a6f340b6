"""What each rule finds to delete. Names of objects come from outside: one that leaves its folder is nobody's."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime

from ml_code.data.versions import read_present
from ml_code.housekeeping import rules
from ml_code.housekeeping.choice import Entry, Limits, choose
from ml_code.housekeeping.needed import (
    list_needed_files,
    list_needed_snapshots,
    list_needed_versions,
    name_version,
)
from ml_code.storage import StoredObject
from ml_code.workspace import Workspace

PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.=-]*")
"""The name of a folder that this product makes; `.` and `..` are none."""

LOOP_FOLDERS = frozenset({"log", "labels", "drift", "feedback", "staleness"})
"""Folders beside those of the models."""

COPIES = "files"
"""Folder of the model files, beside a model's batches."""

FILED = frozenset({"processed", "rejected"})
"""Folders of the label files that were read."""


def find_batches(workspace: Workspace, clock: datetime) -> list[Entry]:
    """Whole batches by their newest object, and copies of model files whose version is gone."""
    needed = list_needed_files(workspace)
    entries: list[Entry] = []
    for model in workspace.catalog.list_models():
        if model not in LOOP_FOLDERS:
            entries += _list_batches(workspace, model, needed)
    settings = workspace.settings
    return choose(entries, Limits(settings.batch_days, settings.batch_gb, settings.backup_days), clock)


def find_snapshots(workspace: Workspace, clock: datetime) -> list[Entry]:
    """Snapshots that no run and no version names."""
    needed = list_needed_snapshots(workspace)
    found: dict[str, list[StoredObject]] = defaultdict(list)
    for entry, parts in _list_own(workspace, f"{workspace.places.locate_object('snapshots')}/"):
        if len(parts) == 2 and parts[1].endswith(".parquet"):
            found[parts[0]].append(entry)
    entries = [entry for dataset, objects in found.items() for entry in _mark(workspace, dataset, objects, needed)]
    return choose(entries, _limit_days(workspace, workspace.settings.snapshot_days), clock)


def find_versions(workspace: Workspace, clock: datetime) -> list[Entry]:
    """Versions of the catalog's models beyond the newest ones."""
    entries: list[Entry] = []
    for model in workspace.catalog.list_models():
        made = workspace.tracker.list_dated_versions(model)
        needed = list_needed_versions(workspace, model, made)
        entries += [
            Entry(name_version(model, one.version), one.made_at, is_needed=one.version in needed)
            for one in made[workspace.settings.versions_kept :]
        ]
    return choose(entries, _limit_days(workspace, 0), clock)


def find_quarantine(workspace: Workspace, clock: datetime) -> list[Entry]:
    """Reports of invalid rows."""
    settings = workspace.settings
    limits = Limits(settings.quarantine_days, settings.quarantine_gb, settings.backup_days)
    return choose(_list_single(workspace, f"{workspace.places.locate_object('quarantine')}/"), limits, clock)


def find_loop_files(workspace: Workspace, clock: datetime) -> list[Entry]:
    """Pages of drift and staleness, labels without use, and label files that were read."""
    entries = [entry for folder in workspace.places.list_reports() for entry in _list_single(workspace, folder)]
    for entry, parts in _list_own(workspace, f"{workspace.places.feedback}/"):
        if len(parts) > 2 and parts[1] in FILED:
            entries.append(_make_single(entry))
    return choose(entries, _limit_days(workspace, workspace.settings.prediction_log_days), clock)


def find_logs(workspace: Workspace, clock: datetime) -> list[Entry]:
    """Logs of tasks, where a worker has written them to the store."""
    settings = workspace.settings
    if settings.task_logs_uri is None:
        return []
    limits = Limits(settings.task_log_days, settings.task_log_gb, 1)
    found = workspace.storage.list_objects(f"{settings.task_logs_uri.rstrip('/')}/")
    return choose([_make_single(entry) for entry in found if not _leaves(entry.uri)], limits, clock)


def find_collections(workspace: Workspace, clock: datetime) -> list[Entry]:
    """Collections of the prediction log whose hours are gone."""
    with workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT collection, began_at, began_at = max(began_at) OVER () FROM warehouse.prediction_collection"
        )
        entries = [Entry(name, began_at, is_needed=is_newest) for name, began_at, is_newest in cursor.fetchall()]
    return choose(entries, _limit_days(workspace, workspace.settings.prediction_log_days), clock)


FINDERS: Mapping[str, Callable[[Workspace, datetime], list[Entry]]] = {
    rules.BATCHES: find_batches,
    rules.SNAPSHOTS: find_snapshots,
    rules.VERSIONS: find_versions,
    rules.QUARANTINE: find_quarantine,
    rules.LOOP_FILES: find_loop_files,
    rules.LOGS: find_logs,
    rules.COLLECTIONS: find_collections,
}
"""How each rule of the DAG finds what is too old or too much."""


def _list_batches(workspace: Workspace, model: str, needed: set[str]) -> Iterator[Entry]:
    batches: dict[str, list[StoredObject]] = defaultdict(list)
    for entry, parts in _list_own(workspace, workspace.places.locate_batches(model)):
        if len(parts) == 2 and parts[0] == COPIES:
            is_needed = parts[1].removesuffix(".onnx") in needed
            yield Entry(entry.uri, entry.modified_at, entry.size_bytes, (entry.uri,), is_needed)
        elif len(parts) > 1:
            batches[parts[0]].append(entry)
    folder = workspace.places.locate_batches(model)
    for name, objects in batches.items():
        newest = max(entry.modified_at for entry in objects)
        size = sum(entry.size_bytes for entry in objects)
        yield Entry(f"{folder}{name}", newest, size, [entry.uri for entry in objects])


def _mark(workspace: Workspace, dataset: str, objects: Iterable[StoredObject], needed: set[str]) -> Iterator[Entry]:
    """The snapshots of a dataset. The present one stays, or the newest one if its record cannot be read."""
    present = read_present(workspace, dataset)
    newest = max(objects, key=lambda entry: entry.modified_at)
    for entry in objects:
        version = entry.uri.rsplit("/", 1)[-1].removesuffix(".parquet")
        is_present = entry is newest if present is None else version == present.version
        yield Entry(entry.uri, entry.modified_at, entry.size_bytes, (entry.uri,), is_present or version in needed)


def _list_single(workspace: Workspace, folder: str) -> list[Entry]:
    return [_make_single(entry) for entry, _ in _list_own(workspace, folder)]


def _list_own(workspace: Workspace, folder: str) -> Iterator[tuple[StoredObject, list[str]]]:
    """The objects of a folder with the parts of their names, without those whose name leaves it."""
    for entry in workspace.storage.list_objects(folder):
        parts = entry.uri.removeprefix(folder).split("/")
        # The folder's own name is compared too: a store on a disk may resolve `..`, and a prefix is no folder.
        if entry.uri.startswith(folder) and PLAIN_NAME.fullmatch(parts[0]) and not _leaves(entry.uri):
            yield entry, parts


def _leaves(uri: str) -> bool:
    return not {".", ".."}.isdisjoint(uri.split("/"))


def _make_single(entry: StoredObject) -> Entry:
    return Entry(entry.uri, entry.modified_at, entry.size_bytes, (entry.uri,))


def _limit_days(workspace: Workspace, days: float) -> Limits:
    return Limits(days, None, workspace.settings.backup_days)
