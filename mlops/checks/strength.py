"""The rule for a secret of a stack that other machines reach: long, hard to guess, not published, unlike the others."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Mapping
from itertools import combinations

LEAST_LENGTH = 16
LEAST_BITS = 64.0
SHARED_LENGTH = 10
"""Two random secrets do not have so many characters in common, in a row."""

PUBLISHED = frozenset({
    "46bkjoqylppoexq0ohdznilnepkff87wfwlbfzqddho=",
    "81hqdtbqaywksoumsha3bhwnodq26slt6k0yazezyps=",
    "wjalrxutnfemi/k7mdeng/bpxrficyexamplekey",
    "cryptography_not_found_storing_passwords_in_plain_text",
})  # fmt: skip
"""Keys of well-known manuals and compose files, in small letters; they look random."""

_COMMON = """
admin airflow apache backup baseball batman bento bucket celery change changeme champion company computer console
database dataset default demo docker donald dragon example fernet football forest freedom gateway guest hello
iloveyou insecure jordan letmein local login market master michael minio minioadmin mlflow mlops monday monkey
monster nginx orange passphrase passwd password postgres prediction princess private production public purple qazwsx
secret secure server service serving shadow spring staging storage strong summer sunshine superman superuser system
temporary testing trainer trustno tuning valkey warehouse welcome whatever winter
"""
WORDS = tuple(_COMMON.split())
"""Words of common passwords, and the names that a person would take here."""

ROWS = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "1q2w3e4r5t6y7u8i9o0p",
    "a1b2c3d4e5f6g7h8i9j0",
)
BOTH_WAYS = (*ROWS, *(row[::-1] for row in ROWS))
SHAPES = str.maketrans("@013457$!", "aoieastsi")
"""Characters that stand for a letter of the same shape."""

WORD_BITS = 10.0
ROW_BITS = 6.0
LETTER_BITS = 2.0
"""One letter of a text in a natural language."""

_YEAR = re.compile(r"(?:19|20)\d\d")
_SYLLABLES = re.compile(r"[A-Z]?[a-z]{1,12}|[A-Z]{1,12}")
_PRONOUNCEABLE = re.compile(r"(?=.{6})[^aeiou]{0,2}(?:[aeiou]{1,2}[^aeiou]{1,3}){2,}[aeiou]{0,2}", re.IGNORECASE)


def find_weaknesses(secrets: Mapping[str, str]) -> list[str]:
    """Lists each secret that breaks the rule, with what was found and expected; the text never holds a secret."""
    found = [f"{name}: {reason}" for name, secret in secrets.items() if (reason := _judge(secret))]
    for (one, first), (other, second) in combinations(secrets.items(), 2):
        if first and second and _resemble(first.lower(), second.lower()):
            found.append(f"{other}: expected a secret of its own, found one like {one}")
    return found


def is_published(secret: str) -> bool:
    """Returns whether everyone can read the secret: in .env.example, or in a well-known manual."""
    return "insecure" in secret.lower() or secret.lower() in PUBLISHED


def estimate_bits(secret: str) -> float:
    """Returns how many bits a guesser lacks, who tries words, rows of keys, years, runs and repeats first."""
    bits, position, per_character = 0.0, 0, _count_bits_per_character(secret)
    while position < len(secret):
        guesses = [(1, per_character), *_list_guesses(secret, position)]
        length, cost = max(guesses, key=lambda guess: guess[0] * per_character - guess[1])
        bits, position = bits + cost, position + length
    return bits


def _judge(secret: str) -> str | None:
    if is_published(secret):
        return "expected a secret, found one that is published"
    if len(secret) < LEAST_LENGTH:
        return f"expected at least {LEAST_LENGTH} characters, found {len(secret)}"
    if (bits := estimate_bits(secret)) < LEAST_BITS:
        return f"expected a random secret of at least {LEAST_BITS:.0f} bits, found one of about {bits:.0f}"
    return None


def _resemble(one: str, other: str) -> bool:
    """Whether one holds the other, or a long part of it."""
    if one in other or other in one:
        return True
    parts = {one[start : start + SHARED_LENGTH] for start in range(len(one) - SHARED_LENGTH + 1)}
    return any(part in other for part in parts)


def _list_guesses(secret: str, start: int) -> list[tuple[int, float]]:
    """Lengths of the parts from `start` on that a guesser tries as one, each with its bits."""
    text = secret.lower()
    shaped = text.translate(SHAPES)
    guesses = [(length, ROW_BITS) for measure in (_measure_row, _measure_repeat) if (length := measure(text, start))]
    guesses += [(len(word), WORD_BITS) for word in WORDS if shaped.startswith(word, start)]
    if _YEAR.match(text, start):
        guesses.append((4, ROW_BITS))
    letters = _SYLLABLES.match(secret, start)
    if letters and _PRONOUNCEABLE.fullmatch(letters[0]):
        guesses.append((len(letters[0]), LETTER_BITS * len(letters[0])))
    return guesses


def _measure_row(text: str, start: int) -> int:
    """How many characters from `start` on are one repeated character, or neighbours in a row of keys."""
    rows = (text[start] * len(text), *BOTH_WAYS)
    return max(_measure_common(text[start:], row[row.find(text[start]) :]) for row in rows if text[start] in row)


def _measure_repeat(text: str, start: int) -> int:
    """How many characters from `start` on stood before it already."""
    length = 0
    while start + length < len(text) and text[start : start + length + 1] in text[:start]:
        length += 1
    return length if length > 2 else 0


def _measure_common(one: str, other: str) -> int:
    """How many characters two texts begin with in common; fewer than three are no row."""
    length = next((index for index, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    length = min(len(one), len(other)) if length is None else length
    return length if length > 2 else 0


def _count_bits_per_character(secret: str) -> float:
    """Bits of one character that nobody guesses, by the kinds of characters and how many differ."""
    syllables = _SYLLABLES.findall(secret)
    if not any(map(str.isdigit, secret)) and all(set(syllable.lower()) & set("aeiouy") for syllable in syllables):
        return LETTER_BITS
    if not set(secret.lower()) - set(string.hexdigits):
        pool = 10 if secret.isdigit() else 16
    else:
        kinds = {string.ascii_lowercase: 26, string.ascii_uppercase: 26, string.digits: 10}
        pool = sum(size for kind, size in kinds.items() if set(secret) & set(kind))
        pool += 32 if set(secret) - set(string.ascii_letters + string.digits) else 0
    # Few different characters are guessed more easily than their kinds tell.
    return math.log2(max(min(pool, len(set(secret)) * 1.5), 1))
