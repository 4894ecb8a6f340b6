from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.unit.serving.app_client import Ask
from tests.unit.serving.conftest import ask, contents, follower, metrics

__all__ = ["ask", "contents", "follower", "metrics"]


class AppServer(ThreadingHTTPServer):
    """The real app of a replica at a port of this machine; `bodies` are the requests that it got."""

    def __init__(self, ask: Ask) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.ask = ask
        self.bodies: list[bytes] = []
        self.refusals: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: AppServer

    def do_GET(self) -> None:
        self._answer("GET", b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(body)
        self._answer("POST", body)

    def _answer(self, method: str, body: bytes) -> None:
        if self.server.refusals:
            self.send_response(self.server.refusals.pop(0))
            self.end_headers()
            return
        answer = self.server.ask(method, self.path, content=body, headers=dict(self.headers))
        self.send_response(answer.status_code)
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def gateway(ask: Ask) -> Iterator[AppServer]:
    """The app with the models iris (numbers) and ships (a number and a text)."""
    with AppServer(ask) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server
        server.shutdown()
