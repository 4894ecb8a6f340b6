"""`mlops storage copy` between two stores, and the start of the loop on a store that it has not finished."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ml_code.errors import StorageError
from ml_code.storage import SCHEME, Storage
from mlops.backup.buckets import BUCKETS
from mlops.errors import StoreError
from mlops.store_copy import MARKER, Copied, copy_store, list_objects
from tests.integration.test_store_contract import describe
from tests.servers import ObjectStore, run_object_store

OBJECTS = {
    "s3://datasets/incoming/iris/b.csv": b"1,2\n",
    "s3://datasets/clean/iris/한글 1.parquet": bytes(range(256)) * 100,
    "s3://mlflow/1/artifacts/model.onnx": b"m" * (9 << 20),
    "s3://predictions/empty": b"",
    "s3://airflow-logs/tasks/a.log": b"log\n",
}


def open_storage(store: ObjectStore) -> Storage:
    return Storage(describe(store.url, (store.access_key, store.secret_key)))


@pytest.fixture(scope="module")
def stores() -> Iterator[tuple[ObjectStore, ObjectStore]]:
    with run_object_store(BUCKETS) as before, run_object_store(BUCKETS) as after:
        yield before, after


@pytest.fixture
def source(stores: tuple[ObjectStore, ObjectStore]) -> Storage:
    return fill(open_storage(stores[0]), OBJECTS)


@pytest.fixture
def target(stores: tuple[ObjectStore, ObjectStore]) -> Storage:
    return fill(open_storage(stores[1]), {})


def fill(storage: Storage, objects: dict[str, bytes]) -> Storage:
    """A store with these objects and no others."""
    for entry in [*list_objects(storage), *storage.list_objects(MARKER)]:
        storage.delete(entry.uri)
    for uri, content in objects.items():
        storage.write_bytes(uri, content)
    return storage


def read(storage: Storage) -> dict[str, bytes]:
    uris = [entry.uri for bucket in BUCKETS for entry in storage.list_objects(f"{SCHEME}{bucket}/")]
    return {uri: storage.read_bytes(uri) for uri in uris}


def ignore(_: str) -> None:
    """Reports nothing."""


class DyingStore(Storage):
    """A store that ends after so many uploads, or changes what it stores."""

    def __init__(self, storage: Storage, uploads: int, *, damages: bool = False) -> None:
        self._settings = storage._settings
        self._uploads = uploads
        self._damages = damages

    def upload(self, path: Path, uri: str) -> None:
        if self._damages:
            path.write_bytes(b"damaged")
        elif self._uploads == 0:
            raise StorageError("the store is gone")
        self._uploads -= 1
        super().upload(path, uri)


def test_both_stores_hold_the_same_afterwards(source: Storage, target: Storage) -> None:
    copied = copy_store(source, target, ignore)
    assert copied == Copied(5, 5, sum(map(len, OBJECTS.values())))
    assert read(target) == read(source) == OBJECTS


def test_a_copy_that_was_interrupted_goes_on(source: Storage, target: Storage) -> None:
    with pytest.raises(StorageError, match="gone"):
        copy_store(source, DyingStore(target, 2), ignore)
    assert MARKER in read(target)
    there = len(read(target)) - 1
    assert 0 < there < len(OBJECTS)
    assert copy_store(source, target, ignore).written == len(OBJECTS) - there
    assert read(target) == OBJECTS


def test_an_object_that_differs_is_written_again(source: Storage, target: Storage) -> None:
    copy_store(source, target, ignore)
    target.write_bytes("s3://mlflow/1/artifacts/model.onnx", b"x" * (9 << 20))
    assert copy_store(source, target, ignore).written == 1
    assert read(target) == OBJECTS


def test_a_store_that_damages_an_object_is_not_used(source: Storage, target: Storage) -> None:
    with pytest.raises(StoreError, match=r"expected \d+ bytes with the sha256 .* in the new store"):
        copy_store(source, DyingStore(target, 0, damages=True), ignore)
    assert MARKER in read(target)


def test_a_store_with_objects_of_its_own_is_refused(source: Storage, target: Storage) -> None:
    target.write_bytes("s3://datasets/incoming/iris/new.csv", b"3,4\n")
    with pytest.raises(StoreError, match=r"found 1 other objects, such as s3://datasets/incoming/iris/new\.csv"):
        copy_store(source, target, ignore)
    assert MARKER not in read(target)


def test_a_store_is_not_copied_into_itself(stores: tuple[ObjectStore, ObjectStore], source: Storage) -> None:
    """By another address of it: the loop would go on, on a store that nothing was copied into."""
    same = describe(stores[0].url.replace("127.0.0.1", "localhost"), (stores[0].access_key, stores[0].secret_key))
    with pytest.raises(StoreError, match="found that both addresses lead to one"):
        copy_store(source, Storage(same), ignore)
    assert read(source) == OBJECTS


def test_half_a_copy_is_not_copied(source: Storage, target: Storage) -> None:
    with pytest.raises(StorageError, match="gone"):
        copy_store(source, DyingStore(target, 1), ignore)
    with pytest.raises(StoreError, match="a copy into it did not end"):
        copy_store(target, source, ignore)


def test_a_name_of_any_characters_is_copied(source: Storage, target: Storage) -> None:
    names = ["a b+c%2F?#&=.csv", "-", "\u200b", "a\tb", "[red]x[/red]"]
    odd = {f"s3://predictions/{name}": name.encode() for name in names}
    fill(source, odd)
    copy_store(source, target, ignore)
    assert read(target) == odd


def test_an_object_that_comes_meanwhile_is_noticed(source: Storage, target: Storage) -> None:
    def write_late(step: str) -> None:
        if step.startswith("comparing"):
            source.write_bytes("s3://predictions/late", b"late")

    with pytest.raises(StoreError, match="s3://predictions/late changed in the old one; stop the loop"):
        copy_store(source, target, write_late)
    assert MARKER in read(target)


def load_buckets(patch: pytest.MonkeyPatch) -> ModuleType:
    """Loads the script from its file: a package docker/ would shadow the Docker SDK."""
    file = Path(__file__).parents[2] / "docker/airflow/buckets.py"
    spec = importlib.util.spec_from_file_location("buckets", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    patch.setitem(sys.modules, spec.name, module)  # its dataclasses look it up
    spec.loader.exec_module(module)
    return module


def test_the_loop_does_not_start_on_half_a_copy(
    stores: tuple[ObjectStore, ObjectStore], source: Storage, target: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    buckets: Any = load_buckets(monkeypatch)
    client = stores[1].connect()
    buckets.refuse_half_a_copy(client)
    with pytest.raises(StorageError, match="gone"):
        copy_store(source, DyingStore(target, 1), ignore)
    with pytest.raises(SystemExit, match="found a copy that did not end"):
        buckets.refuse_half_a_copy(client)
    copy_store(source, target, ignore)
    buckets.refuse_half_a_copy(client)
