"""Quotes what a client sent: the one place that shortens it.

A response names at most `MAX_QUOTED` characters of a request, so that it stays readable and nobody mirrors a megabyte.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MAX_QUOTED = 200
"""Most characters of a request that an error carries."""

LONGEST_QUOTE = 50
"""Most characters of one cell."""

LEAST_QUOTE = 8
"""A shorter rest tells nobody anything."""

ELLIPSIS = "..."


def shorten(text: str, most: int = MAX_QUOTED) -> str:
    """The text, or its beginning where it has more than `most` characters.

    >>> shorten("abcdefghij", 8)
    'abcde...'
    """
    return text if len(text) <= most else text[: most - len(ELLIPSIS)] + ELLIPSIS


def list_names(names: Sequence[str]) -> str:
    """Names with commas, and their number where the list is shortened."""
    listed = ", ".join(names)
    return listed if len(listed) <= MAX_QUOTED else f"{shorten(listed)} ({len(names)} in all)"


class Quotes:
    """The quotations of one response, which together have at most `MAX_QUOTED` characters.

    >>> Quotes().describe("busan")
    "the text 'busan'"
    """

    def __init__(self) -> None:
        self._left = MAX_QUOTED

    def quote(self, text: str) -> str | None:
        """The beginning of a text; None if the response has quoted enough."""
        if self._left < LEAST_QUOTE:
            return None
        shown = shorten(text, min(LONGEST_QUOTE, self._left))
        self._left -= len(shown)
        return shown

    def describe(self, value: Any) -> str:
        """A JSON value in words."""
        match value:
            case None:
                return "null"
            case bool():
                return str(value).lower()
            case int() | float():
                return f"the number {value!r}"
            case str():
                quoted = self.quote(value)
                return "a text" if quoted is None else f"the text {quoted!r}"
            case list():
                return "an array"
        return "an object"
