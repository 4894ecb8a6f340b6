"""How long the prediction log and its labels stay: some days, and at most some gigabytes in the store."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ml_code.monitoring.prediction_log.collection import find_volume
from ml_code.storage import StoredObject
from ml_code.workspace import Workspace

GB = 1_000_000_000

HOUR = timedelta(hours=1)

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
    """
    settings = workspace.settings
    oldest = (now or datetime.now(UTC)) - timedelta(days=settings.prediction_log_days)
    found = [entry for folder in workspace.places.list_dated() for entry in workspace.storage.list_objects(folder)]
    doomed = list(_choose(found, oldest, settings.prediction_log_gb * GB))
    for entry in doomed:
        workspace.storage.delete(entry.uri)
    _prune_unreadable(find_volume(workspace).unreadable, oldest)
    pruned = Pruned(len(doomed), sum(entry.size_bytes for entry in doomed))
    if doomed:
        log.info("prediction log: %s", pruned.describe())
    return pruned


def _choose(found: Sequence[StoredObject], oldest: datetime, most_bytes: float) -> Iterator[StoredObject]:
    """The oldest hour first, in all models alike; objects without an hour are not ours."""
    dated = [(hour, entry) for entry in found if (hour := _read_hour(entry.uri)) is not None]
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


def _prune_unreadable(folder: Path, oldest: datetime) -> None:
    """Lines that nobody has asked for since then."""
    for path in folder.glob("*.jsonl"):
        if path.stat().st_mtime < oldest.timestamp():
            path.unlink()
