"""A replica that says what it was asked, run in a container: `python replica.py NAME STATUS PORT`.

With status 0 it ends a connection instead of answering a prediction, as a replica does that a request kills.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Replica(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.command == "POST" and sys.argv[2] == "0":
            print("took a prediction", flush=True)
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = json.dumps({"replica": sys.argv[1], "path": self.path, "headers": headers}).encode()
        self.send_response(int(sys.argv[2]) or 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Model-Version", "7")
        if sys.argv[2] == "429":
            self.send_header("Retry-After", "1")
        self.send_header("Set-Cookie", "session=1")
        # One write, as a replica that is killed between two would have answered half.
        self._headers_buffer.append(b"\r\n" + body)  # type: ignore[attr-defined]
        self.flush_headers()

    do_GET = do_HEAD = do_POST = answer  # noqa: N815  # the names that the standard library asks for

    def log_message(self, *_: object) -> None:
        """Keeps the log empty."""


class Server(ThreadingHTTPServer):
    """With room for clients that connect at once: to a full queue a connection takes longer than the gateway waits."""

    request_queue_size = 128


if __name__ == "__main__":
    Server(("", int(sys.argv[3])), Replica).serve_forever()
