"""Recognizes the encoding of a file from all its bytes."""

from __future__ import annotations

import codecs
import re
from typing import BinaryIO

CHUNK_BYTES = 1024 * 1024

SAMPLE_BYTES = 256 * 1024
"""Bytes for the library that tells legacy encodings apart: more of them hardly change its result."""

UTF_16 = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}

SIGN_ROWS = range(0xA1, 0xAD)
"""First bytes of the signs of KS X 1001, such as … and ㎡, which tables have among their numbers."""

KNOWN_SHARE = 0.9
"""Least share of letters that CP949 has: databases cut texts in the middle of a letter."""

HANGUL_SHARE = 0.9
"""Least share of Hangul among the letters: in short Chinese tables, two thirds and more look like it."""

_INNER_FAULT = re.compile("\ufffd[^\0-\x7f]")
"""Bytes that are no letter, before another one: the end of a text that was cut is before a separator."""

CANDIDATES = ["cp1252", "cp1251", "cp1253", "cp1255", "cp1256", "cp932", "gb18030", "big5"]
"""Legacy encodings that the library tells apart; those of Latin letters are too alike, so Windows-1252 is theirs."""


def recognize_encoding(stream: BinaryIO) -> str:
    """The encoding of a file, as a name that Python knows; the stream is read to its end.

    A file counts as UTF-8 if most of its lines beyond ASCII are, so that a few broken bytes are bad rows.
    """
    start = stream.read(CHUNK_BYTES)
    if start[:2] in UTF_16:
        return UTF_16[start[:2]]
    if _has_alternate_nulls(start):
        return "utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be"
    foreign = [line for line in start.splitlines() if not line.isascii()]
    rest = b""
    while len(foreign) * 80 < SAMPLE_BYTES and (chunk := stream.read(CHUNK_BYTES)):
        if rest.isascii() and chunk.isascii():
            rest = chunk[chunk.rfind(b"\n") + 1 :]
            continue
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()[-CHUNK_BYTES:]
        foreign += [line for line in lines if not line.isascii()]
    foreign += [rest] if not rest.isascii() else []
    if not foreign or sum(map(_is_utf8, foreign)) * 2 >= len(foreign):
        return "utf-8"
    return _recognize_legacy(b"\n".join(line for line in foreign if not _is_utf8(line)))


def _has_alternate_nulls(content: bytes) -> bool:
    """Whether half of the bytes are often NUL, from the start on: a file may change its encoding in the middle."""
    sample = content[:2000]
    if b"\0" not in sample[:8] and sample[:8].isascii():
        return False
    half = max(1, len(sample) // 2)
    return len(sample) > 3 and max(sample[::2].count(0), sample[1::2].count(0)) > 0.4 * half


def _recognize_legacy(content: bytes) -> str:
    sample = content[:SAMPLE_BYTES]
    if looks_korean(sample):
        return "cp949"
    if _looks_latin(sample):
        return "cp1252"
    from charset_normalizer import from_bytes  # noqa: PLC0415  only for a legacy encoding

    best = from_bytes(sample, cp_isolation=CANDIDATES).best()
    return best.encoding if best is not None else "cp1252"


def _looks_latin(content: bytes) -> bool:
    """Whether it is Windows-1252, and letters beyond ASCII stand alone or in pairs, as in Latin words.

    The library takes short texts of such letters for Cyrillic.
    """
    runs = re.findall(rb"[\x80-\xff]+", content)
    return _decodes(content, "cp1252") and sum(len(run) <= 2 for run in runs) >= 0.8 * len(runs)


def looks_korean(content: bytes) -> bool:
    """Whether it is CP949, and nearly all characters beyond ASCII are common Hangul (KS X 1001) or its signs.

    The library takes short Korean texts for Latin, and short Latin ones for Korean.
    """
    text = content.decode("cp949", "replace")
    beyond = [letter for letter in text.removesuffix("\ufffd") if not letter.isascii()]
    known = [letter for letter in beyond if letter != "\ufffd"]
    if len(known) < KNOWN_SHARE * len(beyond) or len(_INNER_FAULT.findall(text)) > 0.01 * len(known):
        return False
    common = [letter for letter in known if min(pair := letter.encode("cp949")) >= 0xA1 and pair[0] not in SIGN_ROWS]
    signs = sum(letter.encode("cp949")[0] in SIGN_ROWS for letter in known)
    hangul = sum("가" <= letter <= "힣" for letter in common)
    return hangul > 0 and hangul >= HANGUL_SHARE * (len(known) - signs)


def _decodes(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _is_utf8(line: bytes) -> bool:
    return _decodes(line, "utf-8")
