"""A replica that says what it was asked, run in a container: `python replica.py NAME STATUS PORT`."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Replica(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = json.dumps({"replica": sys.argv[1], "path": self.path, "headers": headers}).encode()
        self.send_response(int(sys.argv[2]))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Model-Version", "7")
        # One write, as a replica that is killed between two would have answered half.
        self._headers_buffer.append(b"\r\n" + body)  # type: ignore[attr-defined]
        self.flush_headers()

    do_GET = do_HEAD = do_POST = answer  # noqa: N815  # the names that the standard library asks for

    def log_message(self, *_: object) -> None:
        """Keeps the log empty."""


if __name__ == "__main__":
    ThreadingHTTPServer(("", int(sys.argv[3])), Replica).serve_forever()
