"""Free ports of this machine, each for one process of the tests."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import IO

PORTS = range(20_000, 30_000)
"""Below those that systems give to outgoing connections and to servers that ask for any port."""

_locks: list[IO[str]] = []


def free_port() -> int:
    """A TCP port on loopback that nothing listens on, and that no test of another process gets while this one runs."""
    folder = Path(tempfile.gettempdir()) / f"mlops-loop-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for port in (random.choice(PORTS) for _ in PORTS):
        lock = (folder / str(port)).open("w")
        if _is_locked(lock) and _is_free(port):
            _locks.append(lock)
            return port
        lock.close()
    raise RuntimeError(f"expected a free port from {PORTS[0]} to {PORTS[-1]}, found none")


def _is_locked(file: IO[str]) -> bool:
    """Locks a file until this process ends; False where another process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
