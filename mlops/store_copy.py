"""Takes the objects of one store over into another one and compares every byte; a killed copy goes on when repeated."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from ml_code.settings import Settings
from ml_code.storage import SCHEME, Storage, StoredObject
from mlops.backup.buckets import BUCKETS, INCOMING, WORKERS, split
from mlops.backup.manifest import digest_stream
from mlops.errors import StoreError
from serving.quoting import shorten

MARKER = f"{SCHEME}datasets/mlops-copy-unfinished"
"""Is in the new store until the copy is whole. docker/airflow/buckets.py refuses to start the loop on it.

It names the objects that the copy brings: those that the old store has lost since are deleted, and no others.
"""


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy found: objects in all, those that it had to write, and the bytes of all."""

    objects: int
    written: int
    size_bytes: int


def open_store(settings: Settings, url: str, key: tuple[str, str]) -> Storage:
    """A store at an address, with a key that may read and write every bucket."""
    found = {"s3_endpoint_url": url, "s3_access_key": key[0], "s3_secret_key": SecretStr(key[1])}
    return Storage(settings.model_copy(update=found))


def copy_store(source: Storage, target: Storage, report: Callable[[str], None]) -> Copied:
    """Makes the buckets of the target hold what those of the source hold.

    An object that is there already is compared and not written again. One that a copy before brought, and that the
    source no longer has, is deleted. Files that wait for their intake come last, one
    after another, because an intake begins with the older ones.

    Raises:
        StorageError: one of the stores refuses, or has no such bucket.
        StoreError: the source is no whole store, or the target itself; the target has objects of its own; the source
            changes; or an object differs after it was written.
    """
    _refuse_half(source)
    wanted = list_objects(source)
    brought = _read_brought(target)
    leftovers = _find_leftovers(wanted, brought, target)
    _mark(target, brought)
    _refuse_same(source, target)
    _mark(target, brought | {entry.uri for entry in wanted})
    for uri in leftovers:
        target.delete(uri)
    if leftovers:
        report(f"deleted {len(leftovers)} objects in the new store that the old one no longer has")
    ordered = sorted(wanted, key=lambda entry: (entry.modified_at, entry.uri))
    waiting = [entry for entry in ordered if _is_waiting(entry)]
    others = [entry for entry in ordered if not _is_waiting(entry)]
    report(f"{len(wanted)} objects, {sum(entry.size_bytes for entry in wanted) / 1e6:.1f} MB")
    with ThreadPoolExecutor(WORKERS) as pool:
        written = sum(pool.map(lambda entry: _bring(source, target, entry), others))
    written += sum(_bring(source, target, entry) for entry in waiting)
    report("comparing the lists of both stores")
    _compare_lists(wanted, source, target)
    target.delete(MARKER)
    return Copied(len(wanted), written, sum(entry.size_bytes for entry in wanted))


def list_objects(storage: Storage) -> list[StoredObject]:
    """The objects of all buckets but for the marker of a copy."""
    found = (entry for bucket in BUCKETS for entry in storage.list_objects(f"{SCHEME}{bucket}/"))
    return [entry for entry in found if entry.uri != MARKER]


def _is_waiting(entry: StoredObject) -> bool:
    return split(entry.uri)[1].startswith(INCOMING)


def _refuse_half(source: Storage) -> None:
    if source.find(MARKER) is not None:
        raise StoreError(
            f"the old store: expected a whole one, found {MARKER}, so a copy into it did not end; end that copy first"
        )


def _refuse_same(source: Storage, target: Storage) -> None:
    """Two addresses may lead to one store, which would compare well with itself."""
    if source.find(MARKER) is not None:
        target.delete(MARKER)
        raise StoreError(
            "the old store: expected another one than the new store, found that both addresses lead to one; name the "
            "address of the old store"
        )


def _read_brought(target: Storage) -> set[str]:
    """The objects that a copy which did not end may have written; none without such a copy."""
    if target.find(MARKER) is None:
        return set()
    try:
        return set(json.loads(target.read_bytes(MARKER))["objects"])
    except ValueError:
        return set()  # of an older version: it named none


def _mark(target: Storage, brought: Set[str]) -> None:
    told = {"state": "mlops storage copy did not end; repeat it", "objects": sorted(brought)}
    target.write_bytes(MARKER, json.dumps(told).encode())


def _find_leftovers(wanted: Sequence[StoredObject], brought: Set[str], target: Storage) -> list[str]:
    """The objects that only the target has, if a copy brought each of them."""
    lost = {entry.uri for entry in list_objects(target)} - {entry.uri for entry in wanted}
    if others := sorted(lost - brought):
        raise StoreError(
            f"the new store: expected it to be empty or a part of the old one, found {len(others)} other objects, such "
            f"as {shorten(others[0])}; was the loop started on it? Copy into an empty store"
        )
    return sorted(lost)


def _bring(source: Storage, target: Storage, entry: StoredObject) -> bool:
    """Copies an object unless its bytes are there; returns whether it wrote any."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "object"
        with source.open(entry.uri) as stream, path.open("wb") as file:
            digest = digest_stream(stream, file)
        if _digest(target, entry.uri) == digest:
            return False
        target.upload(path, entry.uri)
    if (found := _digest(target, entry.uri)) != digest:
        raise StoreError(
            f"object {shorten(entry.uri)}: expected {digest[1]} bytes with the sha256 {digest[0]} in the new store, "
            f"found {found}; repeat the copy, and look at the disks of the new store if it happens again"
        )
    return True


def _digest(storage: Storage, uri: str) -> tuple[str, int] | None:
    if storage.find(uri) is None:
        return None
    with storage.open(uri) as stream:
        return digest_stream(stream)


def _compare_lists(wanted: Sequence[StoredObject], source: Storage, target: Storage) -> None:
    before, now = ({entry.uri: entry.tag for entry in found} for found in (wanted, list_objects(source)))
    changed = sorted(uri for uri, _ in before.items() ^ now.items())
    missing = sorted(before.keys() ^ {entry.uri for entry in list_objects(target)})
    if changed or missing:
        name = shorten((changed or missing)[0])
        what = f"{name} changed in the old one" if changed else f"{name} is in one of them only"
        raise StoreError(
            f"both stores: expected the same {len(wanted)} objects, found that {what}; stop the loop, and repeat it"
        )
