"""The bytes of a file as UTF-8: unpacked, decoded, and in reads of the requested size."""

from __future__ import annotations

import codecs
import gzip
import zlib
from typing import BinaryIO, cast

BOM = b"\xef\xbb\xbf"


def unpack(stream: BinaryIO, *, is_packed: bool) -> BinaryIO:
    """The unpacked stream of a gzip file, or the stream itself."""
    return cast("BinaryIO", gzip.GzipFile(fileobj=stream)) if is_packed else stream


class Utf8Stream:
    """Reads a file of any encoding as UTF-8, without a byte order mark.

    Bytes that are not of the encoding stay as they are, so they are not UTF-8, and the line that holds them is invalid.
    """

    def __init__(self, stream: BinaryIO, encoding: str, *, is_packed: bool) -> None:
        self._stream = unpack(stream, is_packed=is_packed)
        self._rest = b""
        name = codecs.lookup(encoding).name
        self._decoder = None if name == "utf-8" else codecs.getincrementaldecoder(name)("surrogateescape")
        self._is_start, self._is_end = True, False

    def read(self, size: int) -> bytes:
        """Reads the whole requested size, except at the end: a network stream returns smaller pieces.

        Raises:
            EOFError: the gzip file is truncated.
            zlib.error, gzip.BadGzipFile: the gzip file is damaged.
        """
        parts, missing = [self._rest[:size]], size - len(self._rest[:size])
        self._rest = self._rest[size:]
        while missing and not self._is_end:
            part = self._stream.read(missing)
            self._is_end = not part
            decoded = self._decode(part)
            parts.append(decoded[:missing])
            self._rest = decoded[missing:]
            missing -= len(parts[-1])
        return b"".join(parts)

    def _decode(self, part: bytes) -> bytes:
        if self._decoder is not None:
            part = self._decoder.decode(part, self._is_end).encode("utf-8", "surrogateescape")
        if self._is_start and part:
            self._is_start = False
            part = part.removeprefix(BOM)
        return part


DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)
"""Errors of a truncated or damaged gzip file."""
