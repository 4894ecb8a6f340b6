"""An object of the store that is read part by part, for readers that seek."""

from __future__ import annotations

import io
from typing import Any, override

from ml_code.errors import StorageError


class ObjectParts(io.RawIOBase):
    """An object as a file with random access; each read is one request for that part."""

    def __init__(self, client: Any, bucket: str, key: str) -> None:
        self._client = client
        self._place = {"Bucket": bucket, "Key": key}
        head = client.head_object(**self._place)
        self._size: int = head["ContentLength"]
        self._tag: str = head["ETag"]
        self._position = 0

    @override
    def readable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def tell(self) -> int:
        return self._position

    @override
    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    @override
    def readinto(self, buffer: Any) -> int:
        end = min(self._position + len(buffer), self._size)
        if end <= self._position:
            return 0
        part = f"bytes={self._position}-{end - 1}"
        answer = self._client.get_object(**self._place, Range=part, IfMatch=self._tag)
        if answer["ETag"] != self._tag:  # not every store supports IfMatch
            raise StorageError(
                f"object s3://{self._place['Bucket']}/{self._place['Key']}: found a change while it was "
                "read, expected no change; start again"
            )
        content = answer["Body"].read()
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)
