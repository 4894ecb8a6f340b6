"""Objects by URI: `s3://bucket/key`, or a path on this machine; the only module that knows boto3."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_code.errors import StorageError

if TYPE_CHECKING:
    from ml_code.settings import Settings

SCHEME = "s3://"


class Storage:
    """The object store of the settings, and this machine's folders.

    >>> Storage(settings).write_bytes("s3://datasets/clean/iris/ab12.parquet", content)
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def read_bytes(self, uri: str) -> bytes:
        """The whole object.

        Raises:
            StorageError: there is no such object, or the store refuses.
        """
        if not uri.startswith(SCHEME):
            return _read_file(Path(uri))
        bucket, key = _split(uri)
        with _explained(uri):
            content: bytes = self._client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return content

    def write_bytes(self, uri: str, content: bytes) -> None:
        """Writes the whole object at once: a reader sees the old one or the new one.

        Raises:
            StorageError: the store refuses.
        """
        if not uri.startswith(SCHEME):
            _write_file(Path(uri), content)
            return
        bucket, key = _split(uri)
        with _explained(uri):
            self._client.put_object(Bucket=bucket, Key=key, Body=content)

    @cached_property
    def _client(self) -> Any:
        import boto3  # noqa: PLC0415  0.5 s, which a local folder does not need
        from botocore.config import Config  # noqa: PLC0415

        return boto3.client(
            "s3",
            endpoint_url=self._settings.s3_endpoint_url,
            aws_access_key_id=self._settings.s3_access_key,
            aws_secret_access_key=self._settings.s3_secret_key.get_secret_value(),
            region_name="us-east-1",
            config=Config(
                connect_timeout=5, read_timeout=60, retries={"total_max_attempts": 3}, s3={"addressing_style": "path"}
            ),
        )


class _explained:  # noqa: N801  read as a phrase: `with _explained(uri):`
    """Turns what boto3 raises into a StorageError that names the object."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        if isinstance(error, BotoCoreError | ClientError):
            raise StorageError(
                f"object {self._uri}: found {error}, expected the store to serve it; "
                "check the address, the keys and that the bucket exists"
            ) from error


def _split(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix(SCHEME).partition("/")
    return bucket, key


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"file {path}: found {error.strerror}, expected a file; check the path") from error


def _write_file(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise StorageError(f"file {path}: found {error.strerror}, expected a place to write; free it") from error
