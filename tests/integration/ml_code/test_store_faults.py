"""The door to the object store while its network is silent, resets connections, or cuts responses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from pydantic import SecretStr

from ml_code import s3_client
from ml_code.errors import StorageError
from ml_code.settings import Settings
from ml_code.storage import Storage
from tests.faulty_proxy import RESET, SILENCE, Fault, FaultyProxy, cut_after
from tests.servers import ObjectStore

URI = "s3://datasets/faults/rows.csv"
CONTENT = bytes(range(256)) * 4096
NEWER = CONTENT[::-1]
FAULTS = {"silence": SILENCE, "reset": RESET, "cut in the head": cut_after(40), "cut in the body": cut_after(100_000)}


@pytest.fixture(scope="module")
def proxy(object_store: ObjectStore) -> Iterator[FaultyProxy]:
    port = int(object_store.url.rpartition(":")[2])
    with FaultyProxy("127.0.0.1", port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def settings(proxy: FaultyProxy, object_store: ObjectStore) -> Settings:
    return Settings(
        mlflow_url="http://127.0.0.1:1",
        mlflow_username="nobody",
        mlflow_password=SecretStr("nothing"),
        s3_endpoint_url=proxy.url,
        s3_access_key=object_store.access_key,
        s3_secret_key=SecretStr(object_store.secret_key),
        warehouse_dsn=SecretStr("host=127.0.0.1"),
    )


@pytest.fixture
def store(settings: Settings) -> Storage:
    """The door beside a store without faults, as patient as usual."""
    return Storage(settings)


@pytest.fixture
def hasty(settings: Settings, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """The same door, which gives up soon: only for what meets a fault."""
    monkeypatch.setattr(s3_client, "READ_SECONDS", 0.5)
    monkeypatch.setattr(s3_client, "TRIES", 1)
    hasty = Storage(settings)
    assert hasty._client, "it is made when it is first asked for"
    monkeypatch.undo()
    yield hasty
    proxy.fault = None


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("read", [Storage.read_bytes, Storage.list_objects], ids=["read", "list"])
def test_a_broken_read_is_an_error_and_never_half_an_object(
    store: Storage, hasty: Storage, proxy: FaultyProxy, fault: Fault, read: Callable[[Storage, str], object]
) -> None:
    store.write_bytes(URI, CONTENT)
    whole = read(store, URI)
    proxy.fault = fault
    found = whole
    with suppress(StorageError):
        found = read(hasty, URI)
    assert found == whole
    proxy.fault = None
    assert read(store, URI) == whole


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_broken_write_leaves_the_old_object_or_the_new_one(
    store: Storage, hasty: Storage, proxy: FaultyProxy, fault: Fault
) -> None:
    store.write_bytes(URI, CONTENT)
    proxy.fault = fault
    with suppress(StorageError):
        hasty.write_bytes(URI, NEWER)
    proxy.fault = None
    assert store.read_bytes(URI) in {CONTENT, NEWER}
    store.write_bytes(URI, NEWER)
    assert store.read_bytes(URI) == NEWER


def test_a_store_that_is_away_is_told_by_its_object(hasty: Storage, proxy: FaultyProxy) -> None:
    proxy.fault = RESET
    with pytest.raises(StorageError, match=URI):
        hasty.read_bytes(URI)
