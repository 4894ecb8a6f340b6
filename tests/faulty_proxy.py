"""A TCP proxy on loopback that breaks connections as networks do: silence, a reset, a cut in the middle.

>>> with FaultyProxy("127.0.0.1", 9000) as proxy:
...     proxy.fault = cut_after(1000)
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self

CHUNK_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a response after its first `bytes_passed` bytes; `ending` is silence, reset or close."""

    ending: str
    bytes_passed: int = 0


SILENCE = Fault("silence")
RESET = Fault("reset")


def cut_after(count: int) -> Fault:
    """The connection closes in good order after some bytes of the response."""
    return Fault("close", count)


class FaultyProxy:
    """Passes connections on to a server; each new one meets the present fault, if there is one."""

    def __init__(self, host: str, port: int) -> None:
        self.fault: Fault | None = None
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._listener]

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        """Starts to accept."""
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Closes every connection."""
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._open += [client, server]
                threading.Thread(target=_pass_on, args=(client, server), daemon=True).start()
                threading.Thread(target=self._return, args=(server, client), daemon=True).start()

    def _return(self, server: socket.socket, client: socket.socket) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while chunk := server.recv(CHUNK_BYTES):
                fault = self.fault
                if fault is None:
                    client.sendall(chunk)
                    continue
                left = max(fault.bytes_passed - passed, 0)
                client.sendall(chunk[:left])
                passed += len(chunk)
                if passed > fault.bytes_passed:
                    _end(client, fault.ending)
                    return
            client.shutdown(socket.SHUT_RDWR)


def _pass_on(client: socket.socket, server: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := client.recv(CHUNK_BYTES):
            server.sendall(chunk)
        server.shutdown(socket.SHUT_WR)


def _end(client: socket.socket, ending: str) -> None:
    if ending == "silence":
        return
    if ending == "reset":
        # A linger time of zero makes close() send RST.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        return
    client.shutdown(socket.SHUT_RDWR)
    client.close()
