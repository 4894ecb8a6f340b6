"""The bytes of a file as UTF-8: unpacked, decoded, and in reads of the requested size."""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from typing import BinaryIO, cast

BOM = b"\xef\xbb\xbf"

GZIP = b"\x1f\x8b"

LONGEST_LINE_BYTES = 1024 * 1024
"""A longer line of a legacy encoding is decoded in parts."""

BY_LINES = {"cp949", "cp1252"}
"""Encodings whose lines end with the same byte as those of UTF-8, and in which text of UTF-8 hardly makes sense."""

_THREE_BYTES = re.compile(rb"[\xe1-\xef][\x80-\xbf]{2}")
"""A letter of UTF-8 beyond the first two thousand; two bytes may be Hangul of CP949 as well."""


class Rejoined:
    """A stream whose first bytes have been read: it returns them again, and then the rest."""

    def __init__(self, start: bytes, stream: BinaryIO) -> None:
        self._start, self._stream = start, stream

    def read(self, size: int = -1) -> bytes:
        """Reads at most the requested size; without one, everything."""
        if not self._start:
            return self._stream.read(size)
        if size < 0:
            part, self._start = self._start + self._stream.read(), b""
        else:
            part, self._start = self._start[:size], self._start[size:]
        return part


def unpack(stream: BinaryIO, *, is_packed: bool) -> BinaryIO:
    """The unpacked stream of a gzip file, or the stream itself."""
    return cast("BinaryIO", gzip.GzipFile(fileobj=stream)) if is_packed else stream


def _keep_invalid(error: UnicodeError) -> tuple[str, int]:
    """Turns each invalid byte into one that is not UTF-8 either; Python's `surrogateescape` cannot do so for UTF-16."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\udcff" * (error.end - error.start), error.end


_KEEP_INVALID = "mlops.keep_invalid"
codecs.register_error(_KEEP_INVALID, _keep_invalid)


class Utf8Stream:
    """Reads a file of any encoding as UTF-8, without a byte order mark.

    Bytes that are not of the encoding stay as they are, so they are not UTF-8, and the line that holds them is invalid.
    In a file of CP949 or Windows-1252, a line that is UTF-8 stays as it is: files of two programs are often appended.
    """

    def __init__(self, stream: BinaryIO, encoding: str, *, is_packed: bool, line_end: str = "lf") -> None:
        self._stream = unpack(stream, is_packed=is_packed)
        self._rest, self._tail, self._held = b"", b"", b""
        self._name, self._line_end = codecs.lookup(encoding).name, line_end
        is_utf8 = self._name == "utf-8"
        self._decoder = None if is_utf8 else codecs.getincrementaldecoder(self._name)(_KEEP_INVALID)
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
        if self._name in BY_LINES:
            part = self._decode_lines(part)
        elif self._decoder is not None:
            part = self._decoder.decode(part, self._is_end).encode("utf-8", "surrogateescape")
        if self._is_start:
            part, self._held = self._held + part, b""
            if len(part) < len(BOM) and not self._is_end:
                self._held = part
                return b""
            self._is_start = False
            part = part.removeprefix(BOM)
        return part.replace(b"\r", b"\n") if self._line_end == "cr" else part

    def _decode_lines(self, part: bytes) -> bytes:
        data = self._tail + part
        is_whole = self._is_end or len(data) > LONGEST_LINE_BYTES + len(part)
        end = len(data) if is_whole else data.rfind(b"\n") + 1
        data, self._tail = data[:end], data[end:]
        if data.isascii():
            return data
        return b"\n".join(line if line.isascii() else self._decode_line(line) for line in data.split(b"\n"))

    def _decode_line(self, line: bytes) -> bytes:
        if self._name == "cp1252" or _THREE_BYTES.search(line):
            try:
                line.decode()
            except UnicodeDecodeError:
                pass
            else:
                return line
        return line.decode(self._name, "surrogateescape").encode("utf-8", "surrogateescape")


def unpack_start(start: bytes, size: int) -> bytes:
    """Unpacks the first bytes of a gzip file, up to a size.

    Raises:
        zlib.error: it is damaged.
    """
    return zlib.decompressobj(wbits=31).decompress(start, size)


DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)
"""Errors of a truncated or damaged gzip file."""
