"""A run of housekeeping: it shows what each rule would delete, and deletes that afterwards, rule by rule.

Nothing of a run is remembered but its time: a run that is killed anywhere finds the rest again when it is repeated.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ml_code.disk import describe_disk, measure_disk
from ml_code.housekeeping import rules, runs
from ml_code.housekeeping.choice import Entry
from ml_code.housekeeping.finding import FINDERS
from ml_code.housekeeping.needed import list_needed_versions, list_serving, read_version_name, refuse_serving
from ml_code.housekeeping.rules import find_rule
from ml_code.warehouse import hold_deletions
from ml_code.workspace import Workspace

SHOWN = 20
"""Names of a rule in the log of a plan."""

PROVED_EVERY = 100
"""Deleted entries between two proofs that the lock is still held."""

type Finders = Mapping[str, Callable[[Workspace, datetime], list[Entry]]]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Deleted:
    """What one rule has deleted, or would delete."""

    rule: str
    entries: int
    size_bytes: int

    def describe(self) -> str:
        """How much it is, in one sentence."""
        return f"{self.rule}: {self.entries}, {self.size_bytes / 1e6:.1f} MB"


def find_full_disk(workspace: Workspace) -> str | None:
    """What a person is told of the disk of the volumes; None while there is room, or where there is no such folder."""
    folder = workspace.settings.prediction_log_dir
    return describe_disk(measure_disk(folder)) if folder is not None and folder.is_dir() else None


def plan(
    workspace: Workspace, owner: str, now: datetime, *, is_dry: bool = False, finders: Finders = FINDERS
) -> list[str]:
    """Shows what each rule would delete, and returns the rules that have something to delete; none of a dry run.

    Raises:
        HousekeepingError: a rule would delete what serves; then none is returned.
        StorageError: the store refuses.
        TrackingError: MLflow refuses or cannot be reached.
        WarehouseError: the warehouse cannot be reached.
    """
    run = runs.begin(workspace, owner, now, is_dry=is_dry)
    found = {rule: find(workspace, run.clock) for rule, find in finders.items()}
    serving = list_serving(workspace)
    for rule, entries in found.items():
        refuse_serving(rule, _list_names(entries), serving)
    for rule, entries in found.items():
        _show(_count(rule, entries), entries)
    counts = {rule: _count(rule, entries) for rule, entries in found.items()}
    planned = {rule: {"entries": count.entries, "bytes": count.size_bytes} for rule, count in counts.items()}
    runs.note_plan(workspace, owner, planned)
    if run.is_dry:
        log.info("a dry run: nothing is deleted. The first run of a stack is one")
        return []
    return [rule for rule, entries in found.items() if entries]


def delete(workspace: Workspace, owner: str, rule: str, *, finders: Finders = FINDERS) -> Deleted | None:
    """Deletes what a rule finds now; None where another deletion or a backup is under way.

    Raises:
        HousekeepingError: the rule would delete what serves; then it deletes nothing.
        StorageError: the store refuses; the next run goes on.
        TrackingError: MLflow refuses or cannot be reached; the same.
        WarehouseError: the warehouse cannot be reached; the same.
    """
    with hold_deletions(workspace.warehouse) as prove:
        if prove is None:
            log.info("another deletion or a backup is under way, nothing to do here")
            return None
        run = runs.read(workspace, owner)
        if run.is_dry:
            return Deleted(rule, 0, 0)
        entries = finders[rule](workspace, run.clock)
        refuse_serving(rule, _list_names(entries), list_serving(workspace))
        gone, delete_entry = [], DELETERS.get(rule, _delete_objects)
        for number, entry in enumerate(entries):
            if number % PROVED_EVERY == 0:
                prove()
            if delete_entry(workspace, entry):
                gone.append(entry)
    done = _count(rule, gone)
    log.info("deleted %s", done.describe())
    return done


def _delete_objects(workspace: Workspace, entry: Entry) -> bool:
    for uri in entry.uris:
        workspace.storage.delete(uri)
    return True


def _delete_version(workspace: Workspace, entry: Entry) -> bool:
    """Deletes a version, unless somebody has given it a task since it was found."""
    version, model = read_version_name(entry.name)
    tracker = workspace.tracker
    with runs.hold_model(workspace, model):
        if version in list_needed_versions(workspace, model, tracker.list_dated_versions(model)):
            return False
        tracker.delete_version(model, version)
    return True


def _delete_collection(workspace: Workspace, entry: Entry) -> bool:
    with workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM warehouse.prediction_batch WHERE collection = %s", (entry.name,))
        cursor.execute("DELETE FROM warehouse.prediction_collection WHERE collection = %s", (entry.name,))
    return True


DELETERS: Mapping[str, Callable[[Workspace, Entry], bool]] = {
    rules.VERSIONS: _delete_version,
    rules.COLLECTIONS: _delete_collection,
}
"""How the entries of a rule are deleted, where they are no objects; whether one was."""


def _list_names(entries: Sequence[Entry]) -> list[str]:
    return [name for entry in entries for name in (entry.name, *entry.uris)]


def _count(rule: str, entries: Sequence[Entry]) -> Deleted:
    return Deleted(rule, len(entries), sum(entry.size_bytes for entry in entries))


def _show(count: Deleted, entries: Sequence[Entry]) -> None:
    kept = ", ".join(find_rule(count.rule).limits) or "nothing"
    log.info("would delete %s (kept by %s)", count.describe(), kept)
    for entry in entries[:SHOWN]:
        log.info("  %s of %s, %.1f MB", entry.name, entry.modified_at.isoformat(), entry.size_bytes / 1e6)
    if len(entries) > SHOWN:
        log.info("  and %d more", len(entries) - SHOWN)
