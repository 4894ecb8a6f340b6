"""A constant arrival of requests, which counts latency from when a request was due and so hides no stall.

>>> run_load("http://127.0.0.1:3000/predict", b"[[5.1, 3.5, 1.4, 0.2]]", rate_per_second=200, seconds=10).failed
0
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from urllib.parse import urlsplit

REQUEST_SECONDS = 30.0
"""A request that takes longer has failed."""

_STATUS = re.compile(rb"^HTTP/1\.[01] (\d{3})")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_VERSION = re.compile(rb"\r\nx-model-version: *([^\r]+)", re.IGNORECASE)
_NAMED = re.compile(rb'"(?:model_)?version":"([^"]+)"')
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a load saw; latencies in milliseconds from when each request was due, of the answered ones."""

    sent: int
    failed: int
    failures: Mapping[str, int]
    p50_ms: float
    p99_ms: float
    p999_ms: float
    worst_ms: float
    versions: Mapping[str, int]
    """Answers by the version that they name."""
    first_seconds: Mapping[str, float]
    """When each version was first seen, from the start of the load."""
    last_seconds: Mapping[str, float]
    longest_gap_seconds: float
    """Longest time from one answer with status 200 to the next."""


@dataclass(slots=True)
class _Run:
    """What the connections of one load share."""

    started: float
    interval: float
    total: int
    host: str
    port: int
    requests: Sequence[bytes]
    is_over: Callable[[], bool]
    next_number: int = 0
    latencies: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    first_seconds: dict[str, float] = field(default_factory=dict)
    last_seconds: dict[str, float] = field(default_factory=dict)
    answered_at: list[float] = field(default_factory=list)


def run_load(
    url: str,
    body: bytes | Sequence[bytes],
    *,
    rate_per_second: float,
    seconds: float,
    connections: int = 8,
    headers: Mapping[str, str] | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> LoadReport:
    """POSTs JSON bodies in turn at a constant rate over keep-alive connections.

    Every status but 200 is a failure, and so is an answer whose header and body name two versions. The load ends after
    its seconds, or when `is_over` says so.
    """
    bodies = [body] if isinstance(body, bytes) else body
    requests = [_render(url, each, headers or {}) for each in bodies]
    return asyncio.run(_run(url, requests, rate_per_second, seconds, connections, is_over))


def _render(url: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    all_headers = {
        "Host": parts.netloc,
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **headers,
    }
    head = f"POST {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in all_headers.items())
    return head.encode() + b"\r\n" + body


async def _run(  # noqa: PLR0917
    url: str,
    requests: Sequence[bytes],
    rate_per_second: float,
    seconds: float,
    connections: int,
    is_over: Callable[[], bool],
) -> LoadReport:
    parts = urlsplit(url)
    run = _Run(
        started=asyncio.get_running_loop().time(),
        interval=1 / rate_per_second,
        total=round(rate_per_second * seconds),
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 80,
        requests=requests,
        is_over=is_over,
    )
    await asyncio.gather(*(_work(run) for _ in range(connections)))
    return _summarize(run)


async def _work(run: _Run) -> None:
    """One connection: takes the next request that is due, until none is left."""
    loop = asyncio.get_running_loop()
    connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    while run.next_number < run.total and not run.is_over():
        number = run.next_number
        run.next_number += 1
        due = run.started + number * run.interval
        if (pause := due - loop.time()) > 0:
            await asyncio.sleep(pause)
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                if connection is None:
                    connection = await asyncio.open_connection(run.host, run.port)
                keeps = await _exchange(run, run.requests[number % len(run.requests)], *connection)
            run.latencies.append((loop.time() - due) * 1000)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            is_half = isinstance(error, asyncio.IncompleteReadError) and error.expected is not None
            run.failures["half an answer" if is_half else type(error).__name__] += 1
            keeps = False
        if not keeps and connection is not None:
            connection[1].close()
            connection = None
    if connection is not None:
        connection[1].close()


async def _exchange(run: _Run, request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Sends one request and reads its answer; says whether the connection may be used again."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    status, length = _STATUS.search(head), _LENGTH.search(head)
    if status is None or length is None:
        raise ValueError("an answer without status or content length")
    body = await reader.readexactly(int(length[1]))
    if status[1] != b"200":
        run.failures[f"status {status[1].decode()}"] += 1
    else:
        run.answered_at.append(asyncio.get_running_loop().time())
    version, named = _VERSION.search(head), _NAMED.search(body)
    if named and (version is None or version[1] != named[1]):
        run.failures["two versions"] += 1
    if version:
        name, seconds = version[1].decode(), asyncio.get_running_loop().time() - run.started
        run.versions[name] += 1
        run.first_seconds.setdefault(name, round(seconds, 2))
        run.last_seconds[name] = round(seconds, 2)
    return _CLOSE.search(head) is None


def _summarize(run: _Run) -> LoadReport:
    latencies = sorted(run.latencies) or [float("nan")]

    def quantile(share: float) -> float:
        return round(latencies[min(len(latencies) - 1, int(share * len(latencies)))], 2)

    return LoadReport(
        sent=run.next_number,
        failed=run.failures.total(),
        failures=dict(run.failures),
        p50_ms=quantile(0.5),
        p99_ms=quantile(0.99),
        p999_ms=quantile(0.999),
        worst_ms=round(latencies[-1], 2),
        versions=dict(run.versions),
        first_seconds=run.first_seconds,
        last_seconds=run.last_seconds,
        longest_gap_seconds=round(max((later - one for one, later in pairwise(run.answered_at)), default=0.0), 2),
    )
