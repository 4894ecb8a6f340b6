"""Copies whole buckets, object by object: into a set, and back into a store of any brand."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from ml_code.errors import StorageError
from ml_code.storage import SCHEME, Storage, StoredObject
from mlops.backup.manifest import CONTENT, CopiedObject, digest_stream, read_manifest, read_objects
from mlops.errors import BackupError

BUCKETS = ("airflow-logs", "datasets", "mlflow", "predictions")

INCOMING = "incoming/"
"""Files here wait for their intake, the older ones before the newer ones."""

WORKERS = 4
MOST_PASSES = 20


@dataclass(frozen=True, slots=True)
class Earlier:
    """The set before: content that has not changed since is not read from the store again."""

    folder: Path
    objects: Mapping[tuple[str, str], CopiedObject]


def open_earlier(folder: Path | None) -> Earlier | None:
    """The objects of the set before; None without a readable one."""
    if folder is None:
        return None
    try:
        read_manifest(folder)
        return Earlier(folder, {(entry.bucket, entry.key): entry for entry in read_objects(folder)})
    except (BackupError, OSError):
        return None


class Copying:
    """Copies the objects of a store into a set.

    A listing is not one moment: an object that is moved meanwhile may show in neither of its places. So it is listed
    again until a pass finds no new object. An object that has changed since it was copied stays as it was copied: what
    it names was there then, while what its new content names may not be copied.
    """

    def __init__(self, storage: Storage, folder: Path, earlier: Earlier | None) -> None:
        self._storage = storage
        self._folder = folder
        self._earlier = earlier
        self._copied: dict[tuple[str, str], CopiedObject] = {}

    def copy(self, prove: Callable[[], None]) -> list[CopiedObject]:
        """Copies every object; `prove` is called in each pass, and raises where deletions are possible again.

        Raises:
            StorageError: the store refuses.
            BackupError: new objects came in each pass.
        """
        for _ in range(MOST_PASSES):
            prove()
            found = [entry for bucket in BUCKETS for entry in self._storage.list_objects(f"{SCHEME}{bucket}/")]
            new = [entry for entry in found if split(entry.uri) not in self._copied]
            if not new:
                return list(self._copied.values())
            with ThreadPoolExecutor(WORKERS) as pool:
                for copied in pool.map(self._copy_one, new):
                    if copied is not None:
                        self._copied[copied.bucket, copied.key] = copied
        raise BackupError(
            f"objects: expected a listing without new ones, found some in each of {MOST_PASSES}; repeat the backup "
            "when fewer files come in"
        )

    def _copy_one(self, entry: StoredObject) -> CopiedObject | None:
        """Copies an object; None if it was moved meanwhile, and then a later pass finds it in its new place."""
        bucket, key = split(entry.uri)
        before = self._earlier.objects.get((bucket, key)) if self._earlier else None
        if before and self._earlier and before.tag == entry.tag and _link(self._earlier.folder, before, self._folder):
            return replace(before, tag=entry.tag, modified_at=entry.modified_at.isoformat())
        partial = self._folder / CONTENT / uuid.uuid4().hex
        partial.parent.mkdir(exist_ok=True)
        try:
            with self._storage.open(entry.uri) as source, partial.open("wb") as target:
                sha256, size_bytes = digest_stream(source, target)
        except StorageError:
            partial.unlink(missing_ok=True)
            if self._storage.find(entry.uri) is None:
                return None
            raise
        copied = CopiedObject(bucket, key, size_bytes, sha256, entry.tag, entry.modified_at.isoformat())
        content = self._folder / copied.content
        content.parent.mkdir(exist_ok=True)
        partial.replace(content)
        return copied


def put_back(storage: Storage, folder: Path, objects: Sequence[CopiedObject]) -> None:
    """Makes the buckets hold the objects of a set and no others.

    Raises:
        StorageError: the store refuses.
        BackupError: the store holds something else afterwards.
    """
    ordered = sorted(objects, key=lambda entry: (datetime.fromisoformat(entry.modified_at), entry.key))
    waiting = [entry for entry in ordered if entry.key.startswith(INCOMING)]
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(lambda entry: _put(storage, folder, entry), _without(ordered, waiting)))
    for entry in waiting:
        _put(storage, folder, entry)
    wanted = {locate(entry): entry.size_bytes for entry in objects}
    for surplus in find_objects(storage).keys() - wanted.keys():
        storage.delete(surplus)
    found = find_objects(storage)
    if found != wanted:
        differing = sorted(uri for uri, _ in found.items() ^ wanted.items())
        raise BackupError(
            f"objects: expected {len(wanted)} as in the set, found others: {', '.join(differing[:3])}; does anything "
            "else write to the store? Repeat the restore"
        )


def find_objects(storage: Storage) -> dict[str, int]:
    """The size of each object of the buckets, by its URI."""
    found = (entry for bucket in BUCKETS for entry in storage.list_objects(f"{SCHEME}{bucket}/"))
    return {entry.uri: entry.size_bytes for entry in found}


def locate(entry: CopiedObject) -> str:
    """The URI of an object."""
    return f"{SCHEME}{entry.bucket}/{entry.key}"


def split(uri: str) -> tuple[str, str]:
    """The bucket and the key of an object."""
    bucket, _, key = uri.removeprefix(SCHEME).partition("/")
    return bucket, key


def _link(earlier: Path, entry: CopiedObject, folder: Path) -> bool:
    """Shares the content of the set before; False where that is not what it was."""
    source, target = earlier / entry.content, folder / entry.content
    try:
        with source.open("rb") as content:
            if digest_stream(content) != (entry.sha256, entry.size_bytes):
                return False
    except OSError:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except FileExistsError:
        return True
    except OSError:  # a file system without hard links, or too many of them
        shutil.copyfile(source, target)
    return True


def _put(storage: Storage, folder: Path, entry: CopiedObject) -> None:
    storage.upload(folder / entry.content, locate(entry))


def _without(entries: Iterable[CopiedObject], others: Sequence[CopiedObject]) -> list[CopiedObject]:
    left_out = set(others)
    return [entry for entry in entries if entry not in left_out]
