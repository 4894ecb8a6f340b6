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


def show(text: str, most: int = MAX_QUOTED) -> str:
    """The beginning of a text between quotation marks, with at most so many characters between them.

    One that cannot be printed is escaped, and takes up to ten.

    >>> show("seoul", 8)
    "'seoul'"
    """
    length = most
    while len(shown := repr(shorten(text, length))) > most + len("''") and length > len(ELLIPSIS) + 1:
        length = max(length // 2, len(ELLIPSIS) + 1)
    return shown


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
        quoted = shorten(text, min(LONGEST_QUOTE, self._left))
        self._left -= len(quoted)
        return quoted

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
                return "a text" if self._left < LEAST_QUOTE else f"the text {self._show(value)}"
            case list():
                return "an array"
        return "an object"

    def _show(self, text: str) -> str:
        shown = show(text, min(LONGEST_QUOTE, self._left))
        self._left -= len(shown) - len("''")
        return shown
