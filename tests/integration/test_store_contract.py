"""What the loop needs of an object store, tried on every store that the project knows."""

from __future__ import annotations

import hashlib
import random
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from pydantic import SecretStr

from ml_code.errors import StorageError
from ml_code.settings import Settings
from ml_code.storage import Storage
from tests.integration.seaweed import ROOT, connect, run_user_store
from tests.integration.seaweed_cluster import run_cluster

NAMES = [
    "plain.csv",
    "a b+c.csv",
    "한글/자료 1.csv",
    "per%20cent&amp=1.csv",
    "deep/er/and/deeper.csv",
    "iris_v2_part-1.csv",
]


@dataclass(frozen=True)
class Store:
    """A store with a bucket, its root key, and a prefix under which a test finds no object."""

    url: str
    key: tuple[str, str]
    prefix: str
    bucket: str = "contract"

    @property
    def client(self) -> Any:
        return connect(self.url, self.key)

    @property
    def storage(self) -> Storage:
        return Storage(describe(self.url, self.key))

    def locate(self, name: str) -> str:
        return f"s3://{self.bucket}/{self.prefix}{name}"


def describe(url: str, key: tuple[str, str]) -> Settings:
    return Settings(
        mlflow_url="http://127.0.0.1:9",
        mlflow_username="nobody",
        mlflow_password=SecretStr("none"),
        s3_endpoint_url=url,
        s3_access_key=key[0],
        s3_secret_key=SecretStr(key[1]),
    )


@pytest.fixture(scope="module", params=["rclone", "seaweedfs", pytest.param("cluster", marks=pytest.mark.long)])
def servers(request: pytest.FixtureRequest) -> Iterator[tuple[str, tuple[str, str]]]:
    """The address of a store with the bucket, and its root key."""
    if request.param == "rclone":
        found = request.getfixturevalue("object_store")
        yield found.url, (found.access_key, found.secret_key)
    elif request.param == "seaweedfs":
        with run_user_store({}) as users:
            yield users.url, ROOT
    else:
        with run_cluster(request.getfixturevalue("postgres")) as cluster:
            yield cluster.urls[0], ROOT


@pytest.fixture(scope="module")
def server(servers: tuple[str, tuple[str, str]]) -> tuple[str, tuple[str, str]]:
    connect(*servers).create_bucket(Bucket="contract")
    return servers


@pytest.fixture
def store(server: tuple[str, tuple[str, str]]) -> Store:
    return Store(*server, f"{secrets.token_hex(4)}/")


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", bytes(range(256)) * 4096], ids=["empty", "small", "1 MB"])
def test_an_object_is_read_as_it_was_written(store: Store, content: bytes) -> None:
    store.storage.write_bytes(store.locate("a"), content)
    assert store.storage.read_bytes(store.locate("a")) == content
    found = store.storage.find(store.locate("a"))
    assert found is not None
    assert found.size_bytes == len(content)


def test_a_name_stays_as_it_is(store: Store) -> None:
    for name in NAMES:
        store.storage.write_bytes(store.locate(name), name.encode())
    assert [found.uri for found in store.storage.list_objects(store.locate(""))] == sorted(map(store.locate, NAMES))
    assert {name: store.storage.read_bytes(store.locate(name)).decode() for name in NAMES} == {
        name: name for name in NAMES
    }


def test_a_listing_has_the_objects_under_a_prefix(store: Store) -> None:
    for name in ("in/1", "in/2", "inner/3", "out/4"):
        store.storage.write_bytes(store.locate(name), b"a")
    found = [entry.uri for entry in store.storage.list_objects(store.locate("in/"))]
    assert found == [store.locate("in/1"), store.locate("in/2")]
    assert store.storage.list_objects(store.locate("absent/")) == []


def test_a_listing_of_pages_has_each_object_once(store: Store) -> None:
    names = [f"page/{number:02}" for number in range(25)]
    for name in names:
        store.storage.write_bytes(store.locate(name), b"a")
    pages = store.client.get_paginator("list_objects_v2").paginate(
        Bucket=store.bucket, Prefix=f"{store.prefix}page/", PaginationConfig={"PageSize": 4}
    )
    assert [entry["Key"] for page in pages for entry in page.get("Contents", [])] == [
        store.prefix + name for name in names
    ]


def test_a_listing_with_a_delimiter_has_folders(store: Store) -> None:
    for name in ("models/1/a", "models/1/b", "models/2/a", "models/list"):
        store.storage.write_bytes(store.locate(name), b"a")
    found = store.client.list_objects_v2(Bucket=store.bucket, Prefix=f"{store.prefix}models/", Delimiter="/")
    folders = [entry["Prefix"].removeprefix(store.prefix) for entry in found["CommonPrefixes"]]
    assert folders == ["models/1/", "models/2/"]
    assert [entry["Key"] for entry in found["Contents"]] == [f"{store.prefix}models/list"]


def test_a_write_replaces_the_whole_object_and_changes_its_tag(store: Store) -> None:
    tags = set()
    for content in (b"first and longer", b"second"):
        store.storage.write_bytes(store.locate("a"), content)
        assert store.storage.read_bytes(store.locate("a")) == content
        found = store.storage.find(store.locate("a"))
        assert found is not None
        tags.add(found.tag)
    assert len(tags) == 2


def test_a_reader_beside_writers_gets_one_of_their_objects(store: Store) -> None:
    contents = [bytes([number]) * 100_000 for number in range(8)]
    store.storage.write_bytes(store.locate("a"), contents[0])
    with ThreadPoolExecutor(8) as pool:
        writes = [pool.submit(store.storage.write_bytes, store.locate("a"), content) for content in contents]
        reads = [pool.submit(store.storage.read_bytes, store.locate("a")) for _ in range(8)]
        assert {read.result() for read in reads} <= set(contents)
        for write in writes:
            write.result()
    assert store.storage.read_bytes(store.locate("a")) in contents


def test_parts_of_an_object_are_read_alone(store: Store) -> None:
    content = random.Random(7).randbytes(300_000)
    store.storage.write_bytes(store.locate("a"), content)
    with store.storage.open_parts(store.locate("a")) as parts:
        for start, length in ((299_990, 10), (0, 4), (150_000, 1_000)):
            parts.seek(start)
            assert parts.read(length) == content[start : start + length]


def test_an_object_that_changes_between_its_parts_is_noticed(store: Store) -> None:
    store.storage.write_bytes(store.locate("a"), b"first" * 100)
    with store.storage.open_parts(store.locate("a")) as parts:
        assert parts.read(5) == b"first"
        store.storage.write_bytes(store.locate("a"), b"other" * 100)
        with pytest.raises((StorageError, ClientError), match=r"found a change|PreconditionFailed|412"):
            parts.read(5)


def test_a_large_object_comes_in_parts(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(random.Random(7).randbytes(20 << 20))
    store.storage.upload(file, store.locate("large"))
    with store.storage.open(store.locate("large")) as stream:
        assert hashlib.file_digest(stream, "sha256").digest() == hashlib.sha256(file.read_bytes()).digest()


def test_an_upload_that_is_given_up_leaves_no_object(store: Store) -> None:
    place = {"Bucket": store.bucket, "Key": f"{store.prefix}a"}
    place["UploadId"] = store.client.create_multipart_upload(**place)["UploadId"]
    store.client.upload_part(**place, PartNumber=1, Body=b"a" * 100)
    store.client.abort_multipart_upload(**place)
    assert store.storage.find(store.locate("a")) is None


def test_an_object_moves_unless_it_changed(store: Store) -> None:
    store.storage.write_bytes(store.locate("incoming/a"), b"content")
    found = store.storage.find(store.locate("incoming/a"))
    assert found is not None
    assert not store.storage.move(found.uri, store.locate("clean/a"), "another@tag")
    assert store.storage.move(found.uri, store.locate("clean/a"), found.tag)
    assert [entry.uri for entry in store.storage.list_objects(store.locate(""))] == [store.locate("clean/a")]
    assert store.storage.read_bytes(store.locate("clean/a")) == b"content"


def test_a_deleted_object_is_gone_and_may_be_deleted_again(store: Store) -> None:
    store.storage.write_bytes(store.locate("a"), b"content")
    for _ in range(2):
        store.storage.delete(store.locate("a"))
        assert store.storage.find(store.locate("a")) is None
        assert store.storage.list_objects(store.locate("")) == []
    with pytest.raises(StorageError, match=r"NoSuchKey|404"):
        store.storage.read_bytes(store.locate("a"))


def test_a_bucket_may_be_made_again(store: Store) -> None:
    store.storage.write_bytes(store.locate("a"), b"content")
    code = refused(store.client.create_bucket, Bucket=store.bucket)
    assert code in {None, "BucketAlreadyOwnedByYou", "BucketAlreadyExists"}
    assert store.storage.read_bytes(store.locate("a")) == b"content"


def test_a_wrong_key_opens_nothing(store: Store) -> None:
    store.storage.write_bytes(store.locate("a"), b"content")
    for key in ((store.key[0], "wrong-secret"), ("nobody", store.key[1])):
        stranger = Storage(describe(store.url, key))
        with pytest.raises(StorageError, match=r"Forbidden|Signature|InvalidAccessKeyId|AccessDenied"):
            stranger.read_bytes(store.locate("a"))
        with pytest.raises(StorageError):
            stranger.write_bytes(store.locate("a"), b"changed")
    assert store.storage.read_bytes(store.locate("a")) == b"content"


def refused(call: Any, **arguments: Any) -> str | None:
    """The code with which the store refuses a call."""
    try:
        call(**arguments)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return None
