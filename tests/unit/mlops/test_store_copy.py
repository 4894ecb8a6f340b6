"""A copy that is repeated after the old store has changed, with two stores in memory."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ml_code.storage import StoredObject
from mlops.errors import StoreError
from mlops.store_copy import MARKER, copy_store

KEPT, GONE, OWN = "s3://datasets/kept.csv", "s3://mlflow/gone.onnx", "s3://predictions/of-the-loop"


class FakeStore:
    """The objects of one store."""

    def __init__(self, *uris: str) -> None:
        self.objects = {uri: uri.encode() for uri in uris}

    def list_objects(self, prefix: str) -> list[StoredObject]:
        made = datetime(2026, 1, 1, tzinfo=UTC)
        return [
            StoredObject(uri, str(hash(content)), made, len(content))
            for uri, content in sorted(self.objects.items())
            if uri.startswith(prefix)
        ]

    def find(self, uri: str) -> StoredObject | None:
        return next((found for found in self.list_objects(uri) if found.uri == uri), None)

    @contextmanager
    def open(self, uri: str) -> Iterator[io.BytesIO]:
        yield io.BytesIO(self.objects[uri])

    def read_bytes(self, uri: str) -> bytes:
        return self.objects[uri]

    def write_bytes(self, uri: str, content: bytes) -> None:
        self.objects[uri] = content

    def upload(self, path: Path, uri: str) -> None:
        self.objects[uri] = path.read_bytes()

    def delete(self, uri: str) -> None:
        self.objects.pop(uri, None)


def copy(source: Any, target: Any, report: Callable[[str], None] = lambda _: None) -> int:
    return copy_store(source, target, report).written


@pytest.fixture
def stores() -> tuple[FakeStore, FakeStore]:
    """The old store lost an object while it was copied."""
    source, target = FakeStore(KEPT, GONE), FakeStore()

    def lose(step: str) -> None:
        if step.startswith("comparing"):
            source.delete(GONE)

    with pytest.raises(StoreError, match=r"gone\.onnx changed in the old one; stop the loop, and repeat it"):
        copy(source, target, lose)
    assert set(target.objects) == {KEPT, GONE, MARKER}
    return source, target


def test_the_copy_is_repeated_as_the_error_says(stores: tuple[FakeStore, FakeStore]) -> None:
    source, target = stores
    assert copy(source, target) == 0
    assert target.objects == source.objects == {KEPT: KEPT.encode()}


def test_what_the_copy_did_not_bring_is_never_deleted(stores: tuple[FakeStore, FakeStore]) -> None:
    source, target = stores
    target.write_bytes(OWN, b"rows")
    with pytest.raises(StoreError, match="found 1 other objects, such as s3://predictions/of-the-loop"):
        copy(source, target)
    assert set(target.objects) == {KEPT, GONE, OWN, MARKER}


def test_with_a_marker_that_names_no_objects_none_is_deleted(stores: tuple[FakeStore, FakeStore]) -> None:
    source, target = stores
    target.write_bytes(MARKER, b"mlops storage copy did not end; repeat it\n")
    with pytest.raises(StoreError, match="found 1 other objects"):
        copy(source, target)
    assert GONE in target.objects


def test_a_store_that_meets_itself_is_left_as_it_was() -> None:
    store = FakeStore(KEPT, GONE)
    with pytest.raises(StoreError, match="both addresses lead to one"):
        copy(store, store)
    assert set(store.objects) == {KEPT, GONE}
