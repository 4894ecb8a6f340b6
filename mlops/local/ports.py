"""Ports of this machine's loopback: which text is one, which are free, and which may not be had."""

from __future__ import annotations

import socket
from collections.abc import Collection

from mlops.errors import PortError

LOOPBACK = "127.0.0.1"
LARGEST = 65535


def is_port(text: str) -> bool:
    """Whether a program can listen at it."""
    return text.isdecimal() and 0 < int(text) <= LARGEST


def read_port(text: str) -> int:
    """A port as settings have it; 0 where a person has made something else of it."""
    return int(text) if is_port(text) else 0


def refuse_port(name: str, text: str, *, taken: Collection[int]) -> None:
    """Refuses a port that was asked for and cannot be had.

    Args:
        name: of the variable that asks for it.
        text: its value.
        taken: ports that others have asked for.

    Raises:
        PortError: it is none, or taken.
    """
    way_out = "set another one, or none to have a free one chosen"
    if not is_port(text):
        raise PortError(f"{name}: expected a port from 1 to {LARGEST}, found {text}; {way_out}")
    if int(text) in taken:
        raise PortError(f"{name}: expected a port of its own, found {text} asked for twice; {way_out}")
    if not is_free(int(text)):
        raise PortError(f"{name}: expected port {text} to be free, found a program that listens; {way_out}")


def is_free(port: int) -> bool:
    """Whether nothing listens there; a port that was closed a moment ago counts as free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def find_free_port(taken: Collection[int]) -> int:
    """One that nothing listens at, and that is not among these."""
    while True:
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port = int(probe.getsockname()[1])
        if port not in taken:
            return port
