"""How long the prediction log and its labels stay: some days, and at most some gigabytes in the store."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ml_code.monitoring.prediction_log.collection import Volume, find_volume, hold_lock
from ml_code.storage import StoredObject
from ml_code.warehouse import hold_deletions
from ml_code.workspace import Workspace

GB = 1_000_000_000

HOUR = timedelta(hours=1)

ASIDE_SHARE = 0.1
"""Share of the log's size that each kind of things set aside may take: what anybody sends must not fill the disk."""

_ASIDE = re.compile(r"/(labels/unused/[^/]+|feedback/[^/]+/(processed|rejected)/[^/]+)$")

_HOUR = re.compile(r"/date=(\d{4}-\d\d-\d\d)/hour=([01]\d|2[0-3])/[^/]+$")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was deleted."""

    objects: int
    size_bytes: int

    def describe(self) -> str:
        """What was deleted, in one sentence."""
        return f"{self.objects} objects with {self.size_bytes} bytes deleted, too old or beyond the size"


def prune(workspace: Workspace, now: datetime | None = None) -> Pruned:
    """Deletes the hours that are too old, then the oldest ones of all models while the log is too large.

    It may be interrupted anywhere: the next call begins with the oldest hour again.

    Raises:
        StorageError: the store refuses.
        WarehouseError: the warehouse cannot be reached.
    """
    volume = find_volume(workspace)
    with hold_lock(volume.home / "feedback.lock") as is_ours:
        if not is_ours:
            log.info("labels are collected at this moment, so no hour of theirs is deleted; the next run does it")
            return Pruned(0, 0)
        with hold_deletions(workspace.warehouse) as prove:
            if prove is None:
                log.info("a backup or another deletion is under way, so no hour is deleted; the next run does it")
                return Pruned(0, 0)
            return _prune(workspace, volume, now or datetime.now(UTC))


def _prune(workspace: Workspace, volume: Volume, now: datetime) -> Pruned:
    settings = workspace.settings
    oldest, most_bytes = now - timedelta(days=settings.prediction_log_days), settings.prediction_log_gb * GB
    found = [entry for folder in workspace.places.list_dated() for entry in workspace.storage.list_objects(folder)]
    doomed = list(_choose(_read_hours(found), oldest, most_bytes))
    for folder in workspace.places.list_aside():
        aside = [entry for entry in workspace.storage.list_objects(folder) if _ASIDE.search(entry.uri)]
        ages = [(entry.modified_at - HOUR, entry) for entry in aside]
        doomed += _choose(ages, oldest, most_bytes * ASIDE_SHARE)
    for entry in doomed:
        workspace.storage.delete(entry.uri)
    _prune_unreadable(volume.unreadable, oldest, most_bytes * ASIDE_SHARE)
    pruned = Pruned(len(doomed), sum(entry.size_bytes for entry in doomed))
    if doomed:
        log.info("prediction log: %s", pruned.describe())
    return pruned


def _read_hours(found: Sequence[StoredObject]) -> list[tuple[datetime, StoredObject]]:
    """Objects with their hours; those without one are not ours."""
    return [(hour, entry) for entry in found if (hour := _read_hour(entry.uri)) is not None]


def _choose(
    dated: Sequence[tuple[datetime, StoredObject]], oldest: datetime, most_bytes: float
) -> Iterator[StoredObject]:
    """The oldest hour first, in all models alike."""
    size_bytes = sum(entry.size_bytes for _, entry in dated)
    for hour, entry in sorted(dated, key=lambda pair: (pair[0], pair[1].uri)):
        if hour + HOUR > oldest and size_bytes <= most_bytes:
            return
        size_bytes -= entry.size_bytes
        yield entry


def _read_hour(uri: str) -> datetime | None:
    found = _HOUR.search(uri)
    if found is None:
        return None
    try:
        return datetime.fromisoformat(f"{found[1]}T{found[2]}:00:00+00:00")
    except ValueError:  # no such day
        return None


def _prune_unreadable(folder: Path, oldest: datetime, most_bytes: float) -> None:
    """Lines that nobody has asked for since then, and the oldest ones of too many."""
    found = sorted(((path.stat(), path) for path in folder.glob("*.jsonl")), key=lambda pair: pair[0].st_mtime)
    size_bytes = sum(status.st_size for status, _ in found)
    for status, path in found:
        if status.st_mtime < oldest.timestamp() or size_bytes > most_bytes:
            size_bytes -= status.st_size
            path.unlink()
