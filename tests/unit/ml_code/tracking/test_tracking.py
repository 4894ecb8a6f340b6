from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ml_code.errors import TrackingError
from ml_code.settings import Settings
from ml_code.tracking import Tracker

RUN = {"info": {"run_id": "run", "experiment_id": "1", "artifact_uri": "mlflow-artifacts:/1/run/artifacts"}, "data": {}}


class FullStore(BaseHTTPRequestHandler):
    """A tracking server that knows its run and takes no artifact."""

    def do_GET(self) -> None:
        self._answer(*((200, {"run": RUN}) if "runs/get" in self.path else (404, {})))

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(507, {"message": "the disk is full"})

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def _answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), FullStore) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_artifact_that_the_server_does_not_take_is_a_tracking_error(url: str, settings: Settings) -> None:
    tracker = Tracker(settings.model_copy(update={"mlflow_url": url}))
    with pytest.raises(TrackingError, match=r"candidate/model.onnx of run run: found .*507"):
        tracker.log_candidate("run", b"content")
