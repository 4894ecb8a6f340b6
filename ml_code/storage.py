"""Objects by URI: `s3://bucket/key`, or a path on this machine."""

from __future__ import annotations

import io
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_code.errors import StorageError
from ml_code.moving import Place, move_file, move_object
from ml_code.object_parts import ObjectParts

if TYPE_CHECKING:
    from ml_code.settings import Settings

SCHEME = "s3://"

READS = 5
"""Of an object that is overwritten: rclone may refuse, or send the bytes of one write with the checksum of another."""

PAUSE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object in its present state; each write changes `tag`."""

    uri: str
    tag: str
    modified_at: datetime
    size_bytes: int


class Storage:
    """The object store of the settings, and this machine's folders.

    >>> Storage(settings).write_bytes("s3://datasets/snapshots/iris/ab12.parquet", content)
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def read_bytes(self, uri: str) -> bytes:
        """The whole object, read again where it is overwritten meanwhile.

        Raises:
            StorageError: there is no such object, or the store refuses.
        """
        for _ in range(READS - 1):
            try:
                return self._read(uri)
            except StorageError as error:
                if not _is_torn(error):
                    raise
            time.sleep(PAUSE_SECONDS)
        return self._read(uri)

    def _read(self, uri: str) -> bytes:
        with self.open(uri) as stream:
            return stream.read()

    @contextmanager
    def open(self, uri: str) -> Iterator[io.BufferedReader]:
        """Opens an object for reading from its start, without holding it in memory.

        Raises:
            StorageError: there is no such object, or the store refuses, or the connection breaks.
        """
        with _explained(uri):
            if not uri.startswith(SCHEME):
                with Path(uri).open("rb") as file:
                    yield file
                return
            bucket, key = _split(uri)
            try:
                body = self._client.get_object(Bucket=bucket, Key=key)["Body"]
            except AttributeError as error:  # botocore cannot parse a refusal that comes with a checksum
                raise StorageError(
                    f"object {uri}: found an answer of the store that cannot be read, expected the object; try again"
                ) from error
            with io.BufferedReader(body, buffer_size=1 << 20) as stream:
                yield stream

    @contextmanager
    def open_parts(self, uri: str) -> Iterator[io.RawIOBase | io.BufferedReader]:
        """Opens an object for reading some of its parts, such as row groups of a Parquet file.

        Raises:
            StorageError: there is no such object, or the store refuses, or another writer replaces it meanwhile.
        """
        with _explained(uri):
            if not uri.startswith(SCHEME):
                with Path(uri).open("rb") as file:
                    yield file
                return
            # Some stores send the checksum of the whole object with each part.
            bucket, key = _split(uri)
            yield ObjectParts(self._make_client(response_checksum_validation="when_required"), bucket, key)

    def write_bytes(self, uri: str, content: bytes) -> None:
        """Replaces the whole object at once: a reader gets the old one or the new one.

        Raises:
            StorageError: the store refuses.
        """
        with _explained(uri):
            if not uri.startswith(SCHEME):
                with _replaced(Path(uri)) as partial:
                    partial.write_bytes(content)
                return
            bucket, key = _split(uri)
            self._client.put_object(Bucket=bucket, Key=key, Body=content)

    def upload(self, path: Path, uri: str) -> None:
        """Copies a file of this machine; a large file goes in parts.

        Raises:
            StorageError: the file cannot be read, or the store refuses.
        """
        with _explained(uri):
            if not uri.startswith(SCHEME):
                with _replaced(Path(uri)) as partial:
                    shutil.copyfile(path, partial)
                return
            bucket, key = _split(uri)
            self._client.upload_file(str(path), bucket, key)

    @contextmanager
    def create(self, uri: str) -> Iterator[Path]:
        """Yields a temporary file, which becomes the object when the block ends without an error.

        Raises:
            StorageError: the store refuses.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / uri.rsplit("/", 1)[-1]
            yield path
            self.upload(path, uri)

    def find(self, uri: str) -> StoredObject | None:
        """Describes an object; None if there is none.

        Raises:
            StorageError: the store refuses.
        """
        if not uri.startswith(SCHEME):
            return _describe_file(Path(uri)) if Path(uri).is_file() else None
        with _explained(uri):
            bucket, key = _split(uri)
            # Of all keys that begin with it, the key itself is the first.
            found = self._client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1).get("Contents", [])
            return _describe_entry(bucket, found[0]) if found and found[0]["Key"] == key else None

    def list_objects(self, prefix: str) -> list[StoredObject]:
        """Every object whose URI starts with the prefix, in order, without the markers of empty folders.

        Raises:
            StorageError: the store refuses.
        """
        with _explained(prefix):
            if not prefix.startswith(SCHEME):
                return _list_files(prefix)
            bucket, key = _split(prefix)
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
            return [
                _describe_entry(bucket, entry)
                for page in pages
                for entry in page.get("Contents", [])
                if not entry["Key"].endswith("/")
            ]

    def delete(self, uri: str) -> None:
        """Deletes an object; it may be gone already.

        Raises:
            StorageError: the store refuses.
        """
        with _explained(uri):
            if not uri.startswith(SCHEME):
                Path(uri).unlink(missing_ok=True)
                return
            bucket, key = _split(uri)
            self._client.delete_object(Bucket=bucket, Key=key)

    def move(self, source: str, target: str, tag: str) -> bool:
        """Moves an object within one store; returns False if the object is gone or has another tag.

        Raises:
            StorageError: the store refuses.
        """
        if not self._has_tag(source, tag):
            return False
        with _explained(source):
            if not source.startswith(SCHEME):
                return move_file(Path(source), Path(target), lambda moved: _describe_file(moved).tag == tag)
            places, etag = (Place(*_split(source)), Place(*_split(target))), tag.partition("@")[0]
            return move_object(self._client, *places, etag, lambda: self._has_tag(source, tag))

    def _has_tag(self, uri: str, tag: str) -> bool:
        found = self.find(uri)
        return found is not None and found.tag == tag

    @cached_property
    def _client(self) -> Any:
        return self._make_client()

    def _make_client(self, **options: Any) -> Any:
        from ml_code.s3_client import make_client  # noqa: PLC0415  0.5 s, which a local folder does not spend

        return make_client(self._settings, **options)


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Turns errors of boto3 and the file system into a StorageError that names the object."""
    if not uri.startswith(SCHEME):
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"file {uri}: found {error.strerror or error}, expected a file that can be read or written; "
                "check the path"
            ) from error
        return
    from boto3.exceptions import Boto3Error  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        yield
    except (Boto3Error, BotoCoreError, ClientError) as error:
        raise StorageError(
            f"object {uri}: found {error}, expected the store to accept the request; "
            "check the address, the keys and that the bucket exists"
        ) from error


def _split(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix(SCHEME).partition("/")
    return bucket, key


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside the file; at the end it replaces the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _list_files(prefix: str) -> list[StoredObject]:
    folder = Path(prefix) if Path(prefix).is_dir() else Path(prefix).parent
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and str(path).startswith(prefix))
    return [_describe_file(path) for path in paths if not path.name.endswith(".partial")]


def _describe_entry(bucket: str, entry: Mapping[str, Any]) -> StoredObject:
    tag = f"{entry['ETag'].strip('"')}@{entry['LastModified'].isoformat()}"
    return StoredObject(f"{SCHEME}{bucket}/{entry['Key']}", tag, entry["LastModified"], entry["Size"])


def _describe_file(path: Path) -> StoredObject:
    status = path.stat()
    tag = f"{status.st_size}@{status.st_mtime_ns}"
    return StoredObject(str(path), tag, datetime.fromtimestamp(status.st_mtime, UTC), status.st_size)


def _is_torn(error: StorageError) -> bool:
    """Whether the bytes were not those of their checksum, or the store refused with a checksum."""
    from botocore.exceptions import FlexibleChecksumError  # noqa: PLC0415

    return isinstance(error.__cause__, FlexibleChecksumError | AttributeError)
