"""Objects are copied while others move them, and shared with the set before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ml_code.errors import StorageError
from mlops.backup import buckets
from mlops.backup.manifest import CopiedObject
from mlops.errors import BackupError
from tests.unit.mlops.backup.small_set import MemoryStore, make_set


def copy(store: Any, folder: Path, earlier: Path | None = None) -> dict[str, CopiedObject]:
    folder.mkdir()
    copied = buckets.Copying(store, folder, buckets.open_earlier(earlier)).copy(lambda: None)
    return {buckets.locate(entry): entry for entry in copied}


def read(folder: Path, entry: CopiedObject) -> bytes:
    return (folder / entry.content).read_bytes()


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    for name in ("datasets/clean/iris/a.parquet", "datasets/incoming/iris/b.csv", "mlflow/1/model.onnx"):
        store.write(f"s3://{name}", name.encode())
    return store


@pytest.mark.parametrize("request_number", range(1, 12))
def test_a_file_that_is_moved_at_any_moment_is_copied(store: MemoryStore, tmp_path: Path, request_number: int) -> None:
    moved, target = "s3://datasets/incoming/iris/b.csv", "s3://datasets/clean/iris/b.csv"
    store.events[request_number] = lambda: store.move(moved, target)
    copied = copy(store, tmp_path / "set")
    contents = {read(tmp_path / "set", entry) for entry in copied.values()}
    assert b"datasets/incoming/iris/b.csv" in contents
    assert {"s3://datasets/clean/iris/a.parquet", "s3://mlflow/1/model.onnx"} <= copied.keys()


@pytest.mark.parametrize("request_number", range(1, 12))
def test_what_a_record_names_is_copied_too(store: MemoryStore, tmp_path: Path, request_number: int) -> None:
    """A new version of a dataset is written first, then the record that names it."""
    store.write("s3://datasets/versions/iris.json", b"s3://datasets/clean/iris/a.parquet")

    def add() -> None:
        store.write("s3://datasets/a-snapshot", b"rows")
        store.write("s3://datasets/versions/iris.json", b"s3://datasets/a-snapshot")

    store.events[request_number] = add
    copied = copy(store, tmp_path / "set")
    named = read(tmp_path / "set", copied["s3://datasets/versions/iris.json"]).decode()
    assert named in copied


def test_new_objects_in_each_pass_are_an_error(store: MemoryStore, tmp_path: Path) -> None:
    class Busy(MemoryStore):
        def list_objects(self, prefix: str) -> list[Any]:
            self.write(f"{prefix}{self.requests}", b"new")
            return super().list_objects(prefix)

    with pytest.raises(BackupError, match="found some in each of 20"):
        copy(Busy(), tmp_path / "set")


def test_a_store_that_refuses_an_object_ends_the_copy(store: MemoryStore, tmp_path: Path) -> None:
    def refuse() -> None:
        raise StorageError("object: refused")

    store.events[5] = refuse
    with pytest.raises(StorageError, match="refused"):
        copy(store, tmp_path / "set")


def test_what_has_not_changed_is_shared_with_the_set_before(store: MemoryStore, tmp_path: Path) -> None:
    first = make_set(tmp_path / "first", store)
    store.write("s3://mlflow/1/model.onnx", b"another")
    store.reads.clear()
    second = copy(store, tmp_path / "second", first)
    assert store.reads == ["s3://mlflow/1/model.onnx"]
    shared = second["s3://datasets/clean/iris/a.parquet"].content
    assert (first / shared).samefile(tmp_path / "second" / shared)
    assert read(tmp_path / "second", second["s3://mlflow/1/model.onnx"]) == b"another"


def test_content_that_the_disk_has_altered_is_read_from_the_store_again(store: MemoryStore, tmp_path: Path) -> None:
    first = make_set(tmp_path / "first", store)
    altered = copy(store, tmp_path / "look")["s3://mlflow/1/model.onnx"]
    (first / altered.content).write_bytes(b"x" * altered.size_bytes)
    second = copy(store, tmp_path / "second", first)
    assert read(tmp_path / "second", second["s3://mlflow/1/model.onnx"]) == b"mlflow/1/model.onnx"


def test_a_store_holds_what_the_set_has_and_nothing_else(store: MemoryStore, tmp_path: Path) -> None:
    store.write("s3://datasets/incoming/iris/c.csv", b"later")
    store.write("s3://datasets/incoming/iris/a.csv", b"latest")
    folder, before = tmp_path / "set", dict(store.objects)
    objects = list(copy(store, folder).values())
    other = MemoryStore()
    other.write("s3://datasets/incoming/iris/surplus.csv", b"of after the backup")
    other.write("s3://mlflow/1/model.onnx", b"of after the backup")
    buckets.put_back(other, folder, objects)  # type: ignore[arg-type]
    assert other.objects == before
    arrived = sorted((uri for uri in before if "/incoming/" in uri), key=other.written.__getitem__)
    assert [uri[-5] for uri in arrived] == ["b", "c", "a"]


def test_a_store_that_changes_meanwhile_is_an_error(store: MemoryStore, tmp_path: Path) -> None:
    objects = list(copy(store, tmp_path / "set").values())

    class Written(MemoryStore):
        def delete(self, uri: str) -> None:
            """Something writes it again."""

    other = Written({"s3://datasets/surplus": b""})
    with pytest.raises(BackupError, match="s3://datasets/surplus"):
        buckets.put_back(other, tmp_path / "set", objects)  # type: ignore[arg-type]
