"""A proxy before MLflow that keeps back the next change of the alias `champion`, as a server that hangs does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import override

import httpx

HOP_HEADERS = {"transfer-encoding", "connection", "content-length", "content-encoding", "host", "accept-encoding"}


class SlowRegistry(ThreadingHTTPServer):
    """Forwards everything; a request that it holds is forwarded when `release` is set, whoever waits for it."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.client = httpx.Client(timeout=60)
        self.holds_next = False
        self.is_held = threading.Event()
        self.release = threading.Event()
        self.has_landed = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def hold_next(self) -> None:
        """Holds the next change of the champion."""
        for event in (self.is_held, self.release, self.has_landed):
            event.clear()
        self.holds_next = True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SlowRegistry

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server = self.server
        is_held = server.holds_next and self.command == "POST" and b'"champion"' in body
        if is_held:
            server.holds_next = False
            server.is_held.set()
            assert server.release.wait(300)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_HEADERS}
        answer = server.client.request(self.command, f"{server.upstream}{self.path}", content=body, headers=headers)
        if is_held:
            server.has_landed.set()
        self.send_response(answer.status_code)
        for name, value in answer.headers.items():
            if name.lower() not in HOP_HEADERS:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_POST = do_DELETE = _forward  # noqa: N815  the names of the base class

    @override
    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def run_slow_registry(upstream: str) -> Iterator[SlowRegistry]:
    """Runs the proxy."""
    with SlowRegistry(upstream) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.release.set()
            server.shutdown()
            thread.join()
            server.client.close()
