"""The folder of the sets: which there are, which one is the newest whole one, and which are too old."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mlops.backup.manifest import Manifest, read_manifest
from mlops.errors import BackupError

PARTIAL = "partial"
"""Folder of a set that is not complete; the next backup deletes it."""

_NAME = re.compile(r"\d{8}T\d{6}Z(-\d+)?")


@dataclass(frozen=True, slots=True)
class BackupSet:
    """One set; `manifest` is None where it cannot be read, or where a file is missing or has another size."""

    folder: Path
    made_at: datetime
    manifest: Manifest | None

    @property
    def name(self) -> str:
        """Its name in the folder of the sets: when it was begun."""
        return self.folder.name


def list_sets(target: Path) -> list[BackupSet]:
    """The sets of a folder, the oldest first. Contents are not read: `verify` does that."""
    folders = sorted(entry for entry in target.iterdir() if _NAME.fullmatch(entry.name)) if target.is_dir() else []
    return [BackupSet(folder, read_name(folder.name), _read_whole(folder)) for folder in folders]


def find_newest(target: Path) -> BackupSet | None:
    """The newest set that is whole."""
    return next((found for found in reversed(list_sets(target)) if found.manifest), None)


def find_set(target: Path, name: str | None) -> Path:
    """The folder of a set: a path, a name in the folder of the sets, or without one the newest whole set.

    Raises:
        BackupError: there is none.
    """
    if name is None:
        newest = find_newest(target)
        if newest is None:
            raise BackupError(f"backups in {target}: expected a whole set, found none; `mlops backup` makes one")
        return newest.folder
    for folder in (target / name, Path(name)):
        if folder.is_dir():
            return folder
    raise BackupError(f"set {name}: expected a folder, found none in {target}; `mlops backup --list` shows the sets")


def prune(target: Path, days: float, now: datetime) -> list[str]:
    """Deletes sets that are too old, and returns their names. The newest whole set stays, however old it is."""
    newest = find_newest(target)
    if newest is None:
        return []
    oldest = now - timedelta(days=days)
    doomed = [found for found in list_sets(target) if found.made_at < oldest and found.folder != newest.folder]
    for found in doomed:
        # Renamed first: a set whose deletion is interrupted must not pass for one.
        shutil.rmtree(target / PARTIAL, ignore_errors=True)
        shutil.rmtree(found.folder.rename(target / PARTIAL))
    return [found.name for found in doomed]


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Holds the folder of the sets, which it makes.

    Raises:
        BackupError: another backup holds it, or the folder cannot be written.
    """
    try:
        target.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (target / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BackupError(
                    f"backups in {target}: another backup is at work there; wait until it ends"
                ) from error
            yield
    except OSError as error:
        raise BackupError(
            f"backups in {target}: expected a folder with room that can be written, found: {error}; no set was made, "
            "the older ones stay"
        ) from error


@contextmanager
def begun(target: Path) -> Iterator[Path]:
    """Yields the folder of a new set, and deletes what an interrupted backup has left, or this one after an error."""
    partial = target / PARTIAL
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def finish(partial: Path, began_at: datetime) -> Path:
    """Makes a set of the folder: from now on it counts."""
    name, number = began_at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ"), 1
    folder = partial.with_name(name)
    while folder.exists():
        number += 1
        folder = partial.with_name(f"{name}-{number}")
    os.sync()  # the content before the name
    partial.rename(folder)
    return folder


def read_name(name: str) -> datetime:
    """When a set was begun."""
    return datetime.strptime(name.partition("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def _read_whole(folder: Path) -> Manifest | None:
    """The manifest of a set whose files are there with their sizes."""
    try:
        manifest = read_manifest(folder)
        whole = all((folder / file.name).stat().st_size == file.size_bytes for file in manifest.files)
    except (BackupError, OSError):
        return None
    return manifest if whole else None
