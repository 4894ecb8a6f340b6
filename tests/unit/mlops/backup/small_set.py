"""A small set as a backup leaves it, and a store of objects in memory."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ml_code.errors import StorageError
from ml_code.storage import StoredObject
from mlops.backup import buckets
from mlops.backup.databases import DATABASES
from mlops.backup.making import list_files, locate_dump
from mlops.backup.manifest import FORMAT, Manifest, describe_file, write_manifest, write_objects

NOW = datetime(2026, 11, 29, 3, tzinfo=UTC)


@dataclass
class MemoryStore:
    """Objects by URI; `events` runs a callable before the request of that number."""

    objects: dict[str, bytes] = field(default_factory=dict)
    events: dict[int, Callable[[], None]] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)
    reads: list[str] = field(default_factory=list)
    requests: int = 0

    def write(self, uri: str, content: bytes) -> None:
        self.objects[uri] = content
        self.written[uri] = len(self.written) + 1

    def move(self, source: str, target: str) -> None:
        self.write(target, self.objects.pop(source))

    def list_objects(self, prefix: str) -> list[StoredObject]:
        self._request()
        return [self._describe(uri) for uri in sorted(self.objects) if uri.startswith(prefix)]

    def find(self, uri: str) -> StoredObject | None:
        return self._describe(uri) if uri in self.objects else None

    @contextmanager
    def open(self, uri: str) -> Iterator[io.BytesIO]:
        self._request()
        self.reads.append(uri)
        if uri not in self.objects:
            raise StorageError(f"object {uri}: found none")
        yield io.BytesIO(self.objects[uri])

    def upload(self, path: Path, uri: str) -> None:
        self.write(uri, path.read_bytes())

    def delete(self, uri: str) -> None:
        self.objects.pop(uri, None)

    def _request(self) -> None:
        self.requests += 1
        self.events.pop(self.requests, lambda: None)()

    def _describe(self, uri: str) -> StoredObject:
        moment = NOW + timedelta(seconds=self.written.get(uri, 0))
        return StoredObject(uri, f"{self.written.get(uri, 0)}", moment, len(self.objects[uri]))


def make_set(folder: Path, store: MemoryStore | None = None, **changes: object) -> Path:
    """Writes a set of three dumps, a description of a dataset, and the objects of a store."""
    folder.mkdir(parents=True)
    store = store or MemoryStore(
        {"s3://mlflow/1/models/m-1/artifacts/model.onnx": b"model", "s3://datasets/a": b"rows"}
    )
    for database in DATABASES:
        file = folder / locate_dump(database)
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(f"dump of {database}".encode())
    (folder / "catalog").mkdir()
    (folder / "catalog/mine.toml").write_text('name = "mine"\n')
    objects = buckets.Copying(store, folder, None).copy(lambda: None)  # type: ignore[arg-type]
    write_objects(folder, objects)
    values = {
        "format": FORMAT,
        "began_at": NOW.isoformat(),
        "ended_at": NOW.isoformat(),
        "versions": {},
        "migrations": [],
        "installation": {},
        "files": [describe_file(folder, name) for name in list_files(folder)],
        "objects": len(objects),
        "object_bytes": sum(entry.size_bytes for entry in objects),
        "left_out": [],
    }
    write_manifest(folder, Manifest(**(values | changes)))  # type: ignore[arg-type]
    return folder
