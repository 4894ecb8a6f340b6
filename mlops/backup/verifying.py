"""Reads a set whole: each byte against its digest, each dump in a database of its own, each version's model file."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mlops.backup.databases import DATABASES, Postgres
from mlops.backup.making import list_files, locate_dump
from mlops.backup.manifest import (
    CONTENT,
    DIGEST,
    MANIFEST,
    CopiedObject,
    Manifest,
    check_names,
    describe_file,
    digest_stream,
    read_manifest,
    read_objects,
)
from mlops.errors import BackupError

SHOWN = 5
"""Problems in a message."""

STORED = re.compile(r"mlflow-artifacts:/+(.+)")
"""Where MLflow's server stores a file, as its database names it."""

MODEL_FILES = """
    SELECT v.name, v.version, COALESCE(v.storage_location, v.source) FROM public.model_versions v
    WHERE v.current_stage <> 'Deleted_Internal' ORDER BY 1, 2
"""

LOST_VERSIONS = """
    SELECT a.name, a.version FROM public.registered_model_aliases a
    LEFT JOIN public.model_versions v ON v.name = a.name AND v.version = a.version WHERE v.name IS NULL
"""

type Report = Callable[[str], None]


def verify(folder: Path, postgres: Postgres | None, report: Report) -> Manifest:
    """Reads a set whole; without a server its dumps are not restored.

    Raises:
        BackupError: something is missing, altered or cannot be restored.
    """
    manifest = verify_files(folder, report)
    if postgres is not None:
        for database in DATABASES:
            report(f"database {database}, restored into one of its own")
            with postgres.scratch(database, folder / locate_dump(database)) as scratch:
                if database == "mlflow":
                    _refuse(folder, _find_lost(postgres, scratch, read_objects(folder)))
    return manifest


def verify_files(folder: Path, report: Report) -> Manifest:
    """Reads each byte of a set.

    Raises:
        BackupError: something is missing or altered.
    """
    manifest = read_manifest(folder)
    check_names(folder, manifest)
    report(f"{len(manifest.files)} files")
    _refuse(folder, _find_altered_files(folder, manifest))
    objects = read_objects(folder)
    report(f"{len(objects)} objects")
    _refuse(folder, _find_altered_objects(folder, manifest, objects))
    return manifest


def _find_altered_files(folder: Path, manifest: Manifest) -> Iterator[str]:
    for expected in manifest.files:
        try:
            found = describe_file(folder, expected.name)
        except OSError as error:
            yield f"{expected.name}: {error.strerror}"
            continue
        if found != expected:
            yield f"{expected.name}: {found.size_bytes} bytes instead of {expected.size_bytes}, or altered ones"
    listed = {file.name for file in manifest.files} | {MANIFEST, DIGEST}
    yield from (f"{name}: not in the manifest" for name in list_files(folder) if name not in listed)
    missing = {locate_dump(database) for database in DATABASES} - listed
    yield from (f"{name}: missing" for name in sorted(missing))


def _find_altered_objects(folder: Path, manifest: Manifest, objects: Sequence[CopiedObject]) -> Iterator[str]:
    if len(objects) != manifest.objects:
        yield f"{len(objects)} objects instead of {manifest.objects}"
    contents = {entry.sha256: entry for entry in objects}
    for entry in contents.values():
        try:
            with (folder / entry.content).open("rb") as source:
                is_same = digest_stream(source) == (entry.sha256, entry.size_bytes)
        except OSError as error:
            yield f"{entry.bucket}/{entry.key}: {error.strerror}"
            continue
        if not is_same:
            yield f"{entry.bucket}/{entry.key}: altered"
    stored = {path.name for path in (folder / CONTENT).rglob("*") if path.is_file()}
    yield from (f"{CONTENT}/{name}: not in the list of objects" for name in sorted(stored - contents.keys()))


def _find_lost(postgres: Postgres, database: str, objects: Sequence[CopiedObject]) -> Iterator[str]:
    """Versions whose model file is not in the set, and aliases without a version."""
    keys = sorted(entry.key for entry in objects if entry.bucket == "mlflow")
    for name, version, place in postgres.ask(database, MODEL_FILES):
        stored = STORED.fullmatch(place)
        if stored and not _has_any(keys, f"{stored[1].rstrip('/')}/"):
            yield f"version {version} of {name}: no file below {place}"
    for name, version in postgres.ask(database, LOST_VERSIONS):
        yield f"version {version} of {name}: an alias names it, and it is not there"


def _has_any(keys: Sequence[str], prefix: str) -> bool:
    """Whether one of some sorted keys begins with a prefix."""
    place = bisect_left(keys, prefix)
    return place < len(keys) and keys[place].startswith(prefix)


def _refuse(folder: Path, problems: Iterator[str]) -> None:
    found = list(problems)
    if found:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise BackupError(
            f"set {folder}: expected it as it was made, found {'; '.join(found[:SHOWN])}{more}; use another set, and "
            "make a new one"
        )
