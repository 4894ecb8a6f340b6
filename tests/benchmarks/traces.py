"""What traces cost a request: CPU time of the app in memory, each way in turn.

Usage: python -m tests.benchmarks.traces [ROUNDS]   (default 15 rounds of 1,000 requests)
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from ml_code.settings import TraceReceiver
from ml_code.telemetry import Tracing
from ml_code.traces import list_trace_ids
from serving.answering.served import Version
from serving.api.app import PredictionApp
from serving.api.metrics import PredictionMetrics
from serving.api.pages import make_pages
from serving.api.spans import RequestSpans
from serving.following.follower import Follower
from serving.following.model_files import ModelFiles
from serving.registry.reader import MlflowRegistry
from tests.unit.serving.log_fakes import FakeLines, make_log
from tests.unit.serving.onnx_files import make_classifier

REQUESTS = 1000
BODY = b"[[5.1, 3.5, 1.4, 0.2]]"
TRACE = b"0af7651916cd43dd8448eb211c80319c"
JSON = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
OF_GATEWAY = [*JSON, (b"x-request-id", TRACE), (b"traceparent", b"00-%s-%s-00" % (TRACE, TRACE[:16]))]

ASK, OFF, UNSAMPLED, SAMPLED = "no header", "header, no receiver", "receiver, not sampled", "receiver, every request"


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(compare(Path(folder), rounds))
    headers: Sequence[bytes | None] = [OF_GATEWAY[-1][1]] * 500
    used = time.process_time()
    for _ in range(200):
        list_trace_ids(headers)
    print(f"a trace id in the log's thread: {(time.process_time() - used) / 200 / 500 * 1e6:.2f} us")


async def compare(folder: Path, rounds: int) -> None:
    """Prints the medians of the rounds, and of their differences to the first way."""
    follower = make_follower(folder)
    await follower.restore()
    quiet, busy = make_spans("always_off"), make_spans("always_on")
    apps = {
        ASK: (make_app(follower, None), JSON),
        OFF: (make_app(follower, None), OF_GATEWAY),
        UNSAMPLED: (make_app(follower, quiet), OF_GATEWAY),
        SAMPLED: (make_app(follower, busy), OF_GATEWAY),
    }
    found: dict[str, list[float]] = {name: [] for name in apps}
    for _ in range(rounds):
        for name, (app, headers) in apps.items():
            found[name].append(await measure(app, headers))
    for name, times in found.items():
        more = statistics.median(one - base for one, base in zip(times, found[ASK], strict=True))
        print(f"{name}: {statistics.median(times):.1f} us a request, {more:+.1f}")
    for spans in (quiet, busy):
        spans.close()


async def measure(app: PredictionApp, headers: list[tuple[bytes, bytes]]) -> float:
    """Microseconds of CPU time that a request takes, the threads of the log and of the spans included."""
    scope: dict[str, Any] = {
        "type": "http",
        "path": "/predict",
        "method": "POST",
        "query_string": b"",
        "headers": headers,
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": BODY}

    async def send(_: Any) -> None:
        pass

    used = time.process_time()
    for _ in range(REQUESTS):
        await app(dict(scope), receive, send)
    await asyncio.sleep(0.6)
    return (time.process_time() - used) / REQUESTS * 1e6


def make_spans(sampler: str) -> RequestSpans:
    """Spans that are rendered and then dropped, twice a second."""
    os.environ |= {"OTEL_TRACES_SAMPLER": sampler, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    return RequestSpans(Tracing(TraceReceiver("http://127.0.0.1:9"), send=lambda _: 200))


def make_app(follower: Follower, spans: RequestSpans | None) -> PredictionApp:
    """A replica's app with a prediction log in memory."""
    log = make_log(FakeLines())
    log.start()
    pages = make_pages(follower, pool="stable", replica="one", default_model="iris")
    metrics = PredictionMetrics(CollectorRegistry())
    return PredictionApp(follower, metrics, default_model="iris", pages=pages, log=log, spans=spans)


def make_follower(folder: Path) -> Follower:
    """A follower that serves one small model of iris."""
    files, content = ModelFiles(folder, "one"), make_classifier()
    digest = hashlib.sha256(content).hexdigest()
    temporary = files.temporary_path()
    temporary.write_bytes(content)
    files.keep(temporary, digest)
    files.record(Version("iris", "7", digest), "2026-11-20T00:00:00+00:00")
    registry = MlflowRegistry("http://127.0.0.1:1", "nobody", "nothing")
    return Follower(registry, files, pool="stable", read_allowed=lambda: {"iris": "iris"}, limit_bytes=1_000_000)


if __name__ == "__main__":
    main()
