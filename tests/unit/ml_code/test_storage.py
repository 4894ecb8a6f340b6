"""A folder in the place of a bucket."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from botocore.exceptions import FlexibleChecksumError

from ml_code.errors import StorageError
from ml_code.settings import Settings
from ml_code.storage import Storage
from tests.many_objects import make_client


def test_writers_of_one_object_do_not_take_each_others_and_leave_one_whole(settings: Settings, tmp_path: Path) -> None:
    contents = [bytes([number]) * 100_000 for number in range(8)]
    uri = str(tmp_path / "store" / "object")

    def write(content: bytes) -> None:
        for _ in range(50):
            Storage(settings).write_bytes(uri, content)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, contents))
    assert Storage(settings).read_bytes(uri) in contents
    assert [file.name for file in (tmp_path / "store").iterdir()] == ["object"]


def test_all_pages_of_a_bucket_are_listed_and_one_object_is_found_by_one_request(settings: Settings) -> None:
    storage = Storage(settings)
    storage._client = make_client(200_000)  # type: ignore[misc]
    found = storage.list_objects("s3://datasets/incoming/")
    assert (len(found), found[-1].uri) == (200_000, "s3://datasets/incoming/iris/199999.csv")
    requests: list[object] = []
    storage._client.meta.events.register("before-parameter-build.s3.ListObjectsV2", lambda **_: requests.append(1))
    assert storage.find("s3://datasets/incoming/iris/000000.csv") == found[0]
    assert storage.find("s3://datasets/incoming/iris/0000") is None
    assert len(requests) == 2


@pytest.mark.parametrize(("torn", "is_read"), [(4, True), (5, False)])
def test_an_object_that_is_overwritten_while_it_is_read_is_read_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, torn: int, is_read: bool
) -> None:
    reads: list[str] = []

    @contextmanager
    def open_torn(_: Storage, uri: str) -> Iterator[io.BytesIO]:
        reads.append(uri)
        if len(reads) <= torn:
            raise StorageError("found another checksum") from FlexibleChecksumError(error_msg="no match")
        yield io.BytesIO(b"whole")

    monkeypatch.setattr(Storage, "open", open_torn)
    with nullcontext() if is_read else pytest.raises(StorageError, match="another checksum"):
        assert Storage(settings).read_bytes("s3://b/k") == b"whole"
    assert len(reads) == 5
