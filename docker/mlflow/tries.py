"""How often a password may be tried: fifteen wrong ones of a user at once, then one in four seconds.

A person who has signed in since the start is not hindered by who guesses: the last right password counts apart.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Collection
from threading import Lock
from typing import Any

from flask import g, has_request_context

BURST = 15
SECONDS = 4.0

MOST_NAMES = 10_000
"""Names that are counted. Beyond them, the name with the fewest wrong tries is removed."""


class Tries:
    """The wrong passwords of each user; in one process, as the server is."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._key = secrets.token_bytes(32)
        self._free_at: dict[str, float] = {}
        self._right: dict[str, bytes] = {}

    def take(self, username: str) -> bool:
        """Counts a try as a wrong one; False where the user has too many."""
        with self._lock:
            now = self._clock()
            free_at = max(self._free_at.get(username, now), now)
            if free_at - now > (BURST - 1) * SECONDS:
                return False
            self._free_at[username] = free_at + SECONDS
            if len(self._free_at) > MOST_NAMES:
                self._forget(now)
            return True

    def give_back(self, username: str, password: str) -> None:
        """Takes a try back that was right, and knows this password from now on."""
        with self._lock:
            self._free_at[username] = self._free_at.get(username, self._clock()) - SECONDS
            self._right[username] = self._digest(password)

    def _forget(self, now: float) -> None:
        """Removes the names that have all their tries again; if none has, the name with the fewest wrong tries.

        A guesser's made-up names have one wrong try each, so they remove one another.
        """
        self._free_at = {name: free_at for name, free_at in self._free_at.items() if free_at > now}
        if len(self._free_at) > MOST_NAMES:
            del self._free_at[min(self._free_at, key=self._free_at.__getitem__)]

    def is_known(self, username: str, password: str) -> bool:
        """Whether this was the user's last right password."""
        known = self._right.get(username, b"")
        return secrets.compare_digest(known, self._digest(password))

    def _digest(self, password: str) -> bytes:
        return hashlib.blake2b(password.encode(), key=self._key).digest()


def limit(check: Callable[[str, str], Any], unlimited: Collection[str], tries: Tries) -> Callable[[str, str], Any]:
    """A check of passwords that is not even made once a user has too many wrong ones.

    Args:
        check: returns the user, or None for a wrong password.
        unlimited: programs whose passwords are random; who guesses theirs must not stop them.
        tries: counts.
    """

    def checked(username: str, password: str) -> Any:
        if username in unlimited or tries.is_known(username, password):
            return check(username, password)
        if not tries.take(username):
            if has_request_context():
                g.is_guessed = True
            return None
        user = check(username, password)
        if user is not None:
            tries.give_back(username, password)
        return user

    return checked
