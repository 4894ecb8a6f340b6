"""What a shadow costs the answers of the canary pool: two replicas, with and without one, asked in turn.

Both hold the same forest of 100 trees as champion, and one a second forest as its shadow. A stand-in for MLflow names
them. The replicas share the first core and the load has the second. Needs Linux and two cores.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, override
from urllib.parse import parse_qs, urlsplit

import httpx
import onnx

from tests.benchmarks.load import LoadReport, run_load
from tests.benchmarks.prediction import LOAD_CORE, SERVER_CORE, train_forest
from tests.ports import free_port
from tests.processes import run_process

ROUNDS = 6
SECONDS = 8.0
RATES = (50, 200)
START_SECONDS = 90
BODY = b"[[5.1, 3.5, 1.4, 0.2]]"


class Registry(ThreadingHTTPServer):
    """The three paths of MLflow that a replica reads: every version is the same file but for its digest."""

    daemon_threads = True

    def __init__(self, files: Mapping[str, bytes], aliases: Mapping[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        until = (datetime.now(UTC) + timedelta(hours=6)).isoformat()
        self.model = {
            "name": "iris",
            "aliases": [{"alias": alias, "version": version} for alias, version in aliases.items()],
            "tags": [{"key": "shadow_until", "value": until}],
        }

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        content = self.server.files[query["version"][0]] if "version" in query else b""
        if path.endswith("/search"):
            body = json.dumps({"registered_models": [self.server.model]}).encode()
        elif path.endswith("/model-versions/get"):
            tag = {"key": "sha256", "value": hashlib.sha256(content).hexdigest()}
            body = json.dumps({"model_version": {"tags": [tag]}}).encode()
        else:
            body = content
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    @override
    def log_message(self, *_: object) -> None:
        """Says nothing."""


@dataclass(slots=True)
class Contender:
    """One replica, and what its loads saw."""

    name: str
    url: str
    reports: dict[int, list[LoadReport]] = field(default_factory=dict)


def main() -> None:
    """Measures both replicas in turn, in an order that changes with each round, and prints the pairs."""
    if (os.cpu_count() or 1) < 2:
        sys.exit("FAIL: expected two cores, found one")
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    champion = train_forest()[1]
    again = onnx.load_from_string(champion)
    again.doc_string = "another file, so that it has a session of its own"
    files = {"1": champion, "2": again.SerializeToString()}
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        contenders = [
            stack.enter_context(run_canary(Path(name) / kind, files, aliases))
            for kind, aliases in (
                ("off", {"champion": "1"}),
                ("off again", {"champion": "1"}),
                ("on", {"champion": "1", "shadow": "2"}),
            )
        ]
        for rate in RATES:
            for number in range(ROUNDS):
                for contender in contenders[number % 3 :] + contenders[: number % 3]:
                    report = run_load(f"{contender.url}/predict", BODY, rate_per_second=rate, seconds=SECONDS)
                    contender.reports.setdefault(rate, []).append(report)
            show(rate, contenders)
        print(httpx.get(f"{contenders[-1].url}/readyz").json()["shadows"])


def show(rate: int, contenders: list[Contender]) -> None:
    """The medians of the rounds, and in how many the shadow was the slower side of its pair."""
    for contender in contenders:
        reports = contender.reports[rate]
        p50, p99 = (statistics.median(getattr(one, name) for one in reports) for name in ("p50_ms", "p99_ms"))
        spread = ", ".join(f"{one.p99_ms:.1f}" for one in reports)
        failed = sum(one.failed for one in reports)
        print(
            f"{rate}/s {contender.name:10} p50 {p50:.2f} ms, p99 {p99:.2f} ms ({spread}), {failed} failed", flush=True
        )


@contextmanager
def run_canary(folder: Path, files: Mapping[str, bytes], aliases: Mapping[str, str]) -> Iterator[Contender]:
    """Runs a replica of the canary pool with these versions, until it holds all of them."""
    folder.mkdir()
    with Registry(files, aliases) as registry:
        threading.Thread(target=registry.serve_forever, daemon=True).start()
        port = free_port()
        settings = {
            "SERVING_MLFLOW_URL": registry.url,
            "SERVING_MLFLOW_USERNAME": "nobody",
            "SERVING_MLFLOW_PASSWORD": "nothing",
            "SERVING_POOL": "canary",
            "SERVING_STATE_DIR": str(folder / "state"),
            "SERVING_PREDICTION_LOG_DIR": str(folder / "log"),
            "SERVING_HOST": "127.0.0.1",
            "SERVING_PORT": str(port),
            "BENTOML_HOME": str(folder / "bentoml"),
            "BENTOML_DO_NOT_TRACK": "true",
        }
        command = ["taskset", "-c", SERVER_CORE, sys.executable, "-m", "serving"]
        with run_process(command, folder / "replica.log", env={**os.environ, **settings}):
            contender = Contender(folder.name, f"http://127.0.0.1:{port}")
            wait_for(contender, has_shadow="shadow" in aliases)
            yield contender
        registry.shutdown()


def wait_for(contender: Contender, *, has_shadow: bool) -> None:
    """Waits until the replica answers, and holds its shadow if it shall have one."""
    deadline, found = time.monotonic() + START_SECONDS, dict[str, Any]()
    while not found.get("ready") or bool(found["shadows"]) != has_shadow:
        if time.monotonic() > deadline:
            sys.exit(f"FAIL: expected the replica {contender.name} to hold its versions, found {found}")
        time.sleep(0.5)
        try:
            found = httpx.get(f"{contender.url}/readyz").json()
        except (httpx.HTTPError, ValueError):
            continue
    run_load(f"{contender.url}/predict", BODY, rate_per_second=100, seconds=8)  # it freezes its heap after 5 s


if __name__ == "__main__":
    main()
