"""The manifest of a set: its files and objects with their digests. It is written last, and has a digest itself."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from mlops.errors import BackupError

FORMAT = 1
"""Form of a set; increase it when an older version of this code would misread a new set."""

MANIFEST = "manifest.json"
DIGEST = "manifest.sha256"
OBJECTS = "objects.jsonl"
"""The list of the objects, one a line."""

CONTENT = "objects"
"""Folder of the objects' content, each under its sha256."""

CHUNK_BYTES = 1 << 20

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class File:
    """One file of a set."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class CopiedObject:
    """One object of the store; `tag` and `modified_at` are those that the store gave it."""

    bucket: str
    key: str
    size_bytes: int
    sha256: str
    tag: str
    modified_at: str

    @property
    def content(self) -> str:
        """Its file in a set."""
        return f"{CONTENT}/{self.sha256[:2]}/{self.sha256}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a set holds, when and by which versions it was made, and what was left out."""

    format: int
    began_at: str
    ended_at: str
    versions: Mapping[str, str]
    migrations: Sequence[str]
    installation: Mapping[str, str]
    files: Sequence[File]
    objects: int
    object_bytes: int
    left_out: Sequence[str]

    @property
    def size_bytes(self) -> int:
        """Bytes of the set, where no other set shares them."""
        return self.object_bytes + sum(file.size_bytes for file in self.files)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest and its digest."""
    content = (json.dumps(asdict(manifest), indent=1) + "\n").encode()
    (folder / MANIFEST).write_bytes(content)
    (folder / DIGEST).write_text(f"{hashlib.sha256(content).hexdigest()}\n")


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest of a set.

    Raises:
        BackupError: it is missing, altered or of a newer version.
    """
    try:
        content, digest = (folder / MANIFEST).read_bytes(), (folder / DIGEST).read_bytes()
    except OSError as error:
        raise BackupError(
            f"set {folder}: expected {MANIFEST} and {DIGEST}, found {error.strerror}: {error.filename}; choose a set "
            "of `mlops backup --list`"
        ) from error
    if digest != f"{hashlib.sha256(content).hexdigest()}\n".encode():
        raise BackupError(f"set {folder}: expected the {MANIFEST} of {DIGEST}, found an altered one; use another set")
    found = json.loads(content)
    if found["format"] > FORMAT:
        raise BackupError(
            f"set {folder}: found the form {found['format']}, expected {FORMAT} or older: a newer version made it; "
            "restore it with that version"
        )
    return Manifest(**{**found, "files": [File(**file) for file in found["files"]]})


def check_names(folder: Path, manifest: Manifest) -> None:
    """Refuses names that leave the set.

    Raises:
        BackupError: there is one.
    """
    for file in manifest.files:
        if not _NAME.fullmatch(file.name):
            raise BackupError(f"set {folder}: found the name {file.name!r}, expected one within the set; do not use it")


def write_objects(folder: Path, objects: Iterable[CopiedObject]) -> None:
    """Writes the list of the objects."""
    with (folder / OBJECTS).open("w", encoding="utf-8") as file:
        for entry in objects:
            file.write(json.dumps(asdict(entry)) + "\n")


def read_objects(folder: Path) -> list[CopiedObject]:
    """Reads the list of the objects.

    Raises:
        BackupError: a line is not an object with a digest.
    """
    try:
        with (folder / OBJECTS).open(encoding="utf-8") as file:
            found = [_read_object(json.loads(line)) for line in file]
    except (ValueError, TypeError) as error:
        raise BackupError(f"set {folder}: expected objects in {OBJECTS}, found {error}; use another set") from error
    return found


def describe_file(folder: Path, name: str) -> File:
    """A file of a set with its size and digest."""
    with (folder / name).open("rb") as file:
        sha256, size_bytes = digest_stream(file)
    return File(name, size_bytes, sha256)


def digest_stream(source: BinaryIO, target: BinaryIO | None = None) -> tuple[str, int]:
    """Reads a stream to its end, and returns its sha256 and its length; `target` receives a copy."""
    digest, size_bytes = hashlib.sha256(), 0
    while chunk := source.read(CHUNK_BYTES):
        digest.update(chunk)
        size_bytes += len(chunk)
        if target is not None:
            target.write(chunk)
    return digest.hexdigest(), size_bytes


def _read_object(found: Mapping[str, Any]) -> CopiedObject:
    entry = CopiedObject(**found)
    if not _SHA256.fullmatch(entry.sha256):
        raise ValueError(f"the digest {entry.sha256!r}")
    return entry
