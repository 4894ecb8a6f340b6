"""Which of some entries go: those that are too old, then the oldest ones while all of them take too much room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

GB = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """What is deleted as a whole: objects that belong together, or a version of a model."""

    name: str
    modified_at: datetime
    size_bytes: int = 0
    uris: Sequence[str] = ()
    is_needed: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how much stays; nothing that is younger than `young_days` goes, however much room it takes."""

    days: float
    gigabytes: float | None
    young_days: float


def choose(entries: Sequence[Entry], limits: Limits, clock: datetime) -> list[Entry]:
    """The entries that go, the oldest first."""
    return list(_choose(entries, limits, clock))


def _choose(entries: Sequence[Entry], limits: Limits, clock: datetime) -> Iterator[Entry]:
    oldest, young = (clock - timedelta(days=days) for days in (limits.days, limits.young_days))
    size_bytes = sum(entry.size_bytes for entry in entries)
    most_bytes = size_bytes if limits.gigabytes is None else limits.gigabytes * GB
    for entry in sorted(entries, key=lambda entry: (entry.modified_at, entry.name)):
        if entry.modified_at >= young or (entry.modified_at >= oldest and size_bytes <= most_bytes):
            return
        if not entry.is_needed:
            size_bytes -= entry.size_bytes
            yield entry
