"""Ports of this machine's loopback: reads them, checks that they are free, and finds free ones."""

from __future__ import annotations

import hashlib
import socket
import tempfile
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import psutil

from mlops.errors import PortError

LOOPBACK = "127.0.0.1"
LARGEST = 65535

LONGEST_SOCKET_FOLDER = 85
"""Characters: a socket's path has 104 on macOS and 108 on Linux, and Postgres adds its name."""


def is_port(text: str) -> bool:
    """Whether a text is the number of a port."""
    return text.isdecimal() and 0 < int(text) <= LARGEST


def read_port(text: str) -> int:
    """The port in a setting; 0 if the text is not a port."""
    return int(text) if is_port(text) else 0


def refuse_port(name: str, text: str, *, taken: Collection[int]) -> None:
    """Refuses a requested port that is invalid or taken.

    Args:
        name: the variable that requests the port.
        text: the variable's value.
        taken: ports that other variables request.

    Raises:
        PortError: the text is not a port, or the port is taken.
    """
    way_out = "set another port, or remove the setting to use any free port"
    if not is_port(text):
        raise PortError(f"{name}: expected a port from 1 to {LARGEST}, found {text}; {way_out}")
    if int(text) in taken:
        raise PortError(f"{name}: expected a port of its own, found {text} requested twice; {way_out}")
    if not is_free(int(text)):
        raise PortError(f"{name}: expected port {text} to be free, found a program that listens; {way_out}")


def is_free(port: int) -> bool:
    """Whether no program listens at a port; a port that was closed a moment ago counts as free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def is_held_by(port: int, process_id: int) -> bool:
    """Whether a process, or one that it has started, listens at a port; also where their ports cannot be seen."""
    try:
        process = psutil.Process(process_id)
        sockets = [
            found for one in (process, *process.children(recursive=True)) for found in one.net_connections("tcp")
        ]
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        return False
    return any(found.status == psutil.CONN_LISTEN and found.laddr.port == port for found in sockets)


def find_free_port(taken: Collection[int]) -> int:
    """A free port that is not one of the taken ones."""
    while True:
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port = int(probe.getsockname()[1])
        if port not in taken:
            return port


def find_socket_folder(folder: Path) -> Path:
    """The folder under a path that is short enough for a socket: its own, or that of a link among temporary files.

    Raises:
        PortError: another user has made the link.
    """
    if len(str(folder)) <= LONGEST_SOCKET_FOLDER:
        return folder
    link = Path(tempfile.gettempdir()) / f"mlops-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
    with suppress(FileExistsError):
        link.symlink_to(folder)
    if link.resolve() != folder.resolve():
        raise PortError(
            f"{link}: found it in use, expected a link to {folder}; delete it, or choose a shorter `--state`"
        )
    return link
