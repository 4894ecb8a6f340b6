"""Files are filed away on a real store, which has none of S3's conditions, while another writer replaces them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from ml_code.settings import Settings
from ml_code.storage import Storage
from tests.servers import ObjectStore

SOURCE, TARGET = "s3://datasets/incoming/moving/rows.csv", "s3://datasets/processed/moving/ab12.csv"


class BusyClient:
    """A client beside which another writer acts before one kind of request."""

    def __init__(self, client: Any, request: str) -> None:
        self._client = client
        self._request = request

    def __getattr__(self, name: str) -> Any:
        if name == self._request:
            self._request = ""
            self._client.put_object(Bucket="datasets", Key="incoming/moving/rows.csv", Body=b"arrived meanwhile")
        return getattr(self._client, name)


class BusyStorage(Storage):
    request = ""

    def _make_client(self, **options: Any) -> Any:
        return BusyClient(super()._make_client(**options), self.request)


@pytest.fixture
def storage(object_store: ObjectStore) -> BusyStorage:
    settings = Settings(
        mlflow_url="http://127.0.0.1:1",
        mlflow_username="nobody",
        mlflow_password=SecretStr("nothing"),
        s3_endpoint_url=object_store.url,
        s3_access_key=object_store.access_key,
        s3_secret_key=SecretStr(object_store.secret_key),
    )
    return BusyStorage(settings)


@pytest.mark.parametrize(
    ("request_name", "left", "filed"),
    [
        ("", None, b"looked at"),
        ("copy", b"arrived meanwhile", None),
        ("list_objects_v2", b"arrived meanwhile", None),
    ],
    ids=["undisturbed", "before the copy", "before the look"],
)
def test_what_arrives_meanwhile_stays(
    storage: BusyStorage, request_name: str, left: bytes | None, filed: bytes | None
) -> None:
    storage.write_bytes(SOURCE, b"looked at")
    found = storage.find(SOURCE)
    assert found is not None
    busy = BusyStorage(storage._settings)
    busy.request = request_name
    assert busy.move(SOURCE, TARGET, found.tag) is (left is None)
    for uri, content in ((SOURCE, left), (TARGET, filed)):
        assert (storage.read_bytes(uri) if storage.find(uri) else None) == content
        if content is not None:
            storage._client.delete_object(Bucket="datasets", Key=uri.removeprefix("s3://datasets/"))


def test_a_key_is_found_among_those_that_begin_with_it(storage: BusyStorage) -> None:
    for name in ("rows.csv.gz", "rows.csv1", "rows"):
        storage.write_bytes(f"s3://datasets/found/{name}", b"other")
    assert storage.find("s3://datasets/found/rows.csv") is None
    storage.write_bytes("s3://datasets/found/rows.csv", b"this one")
    found = storage.find("s3://datasets/found/rows.csv")
    assert found is not None
    assert (found.uri, found.size_bytes) == ("s3://datasets/found/rows.csv", 8)
    assert [found] == [each for each in storage.list_objects(found.uri) if each.uri == found.uri]
