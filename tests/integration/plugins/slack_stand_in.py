"""Plays Slack's incoming webhooks: an HTTP server on loopback that answers as it is told and keeps what it got."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, override

TOKEN = "T0TEAM/B0BOT/verysecrettoken"


class Slack(ThreadingHTTPServer):
    """`status` is what each request is answered with; None answers with nothing until `released` is set."""

    def __init__(self, status: int | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = status
        self.messages: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.released = threading.Event()

    @property
    def connection(self) -> str:
        """The connection `my_webhook` as docker/airflow/init.py makes it, but for the host."""
        return describe_connection(f"http://127.0.0.1:{self.server_port}/services", TOKEN)


class _Handler(BaseHTTPRequestHandler):
    server: Slack

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.messages.append(json.loads(body))
        self.server.paths.append(self.path)
        if self.server.status is None:
            self.server.released.wait(30)
            return
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(b"ok")

    @override
    def log_message(self, *_: object) -> None:
        """Says nothing."""


def describe_connection(host: str, token: str) -> str:
    return json.dumps({"conn_type": "slackwebhook", "host": host, "password": token})


@contextmanager
def run_slack(status: int | None = 200) -> Iterator[Slack]:
    server = Slack(status)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
