"""A constant arrival of requests, which counts latency from when a request was due and so hides no stall.

>>> run_load("http://127.0.0.1:3000/predict", b"[[5.1, 3.5, 1.4, 0.2]]", rate_per_second=200, seconds=10).failed
0
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

REQUEST_SECONDS = 30.0
"""A request that takes longer has failed."""

_STATUS = re.compile(rb"^HTTP/1\.[01] (\d{3})")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_VERSION = re.compile(rb"\r\nx-model-version: *([^\r]+)", re.IGNORECASE)
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


@dataclass(slots=True)
class _Run:
    """What the connections of one load share."""

    started: float
    interval: float
    total: int
    host: str
    port: int
    request: bytes
    next_number: int = 0
    latencies: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)


def run_load(
    url: str,
    body: bytes,
    *,
    rate_per_second: float,
    seconds: float,
    connections: int = 8,
    headers: Mapping[str, str] | None = None,
) -> LoadReport:
    """POSTs a JSON body at a constant rate over keep-alive connections; every status but 200 is a failure."""
    request = _render(url, body, headers or {})
    return asyncio.run(_run(url, request, rate_per_second, seconds, connections))


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


async def _run(url: str, request: bytes, rate_per_second: float, seconds: float, connections: int) -> LoadReport:
    parts = urlsplit(url)
    run = _Run(
        started=asyncio.get_running_loop().time(),
        interval=1 / rate_per_second,
        total=round(rate_per_second * seconds),
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 80,
        request=request,
    )
    await asyncio.gather(*(_work(run) for _ in range(connections)))
    return _summarize(run)


async def _work(run: _Run) -> None:
    """One connection: takes the next request that is due, until none is left."""
    loop = asyncio.get_running_loop()
    connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    while run.next_number < run.total:
        due = run.started + run.next_number * run.interval
        run.next_number += 1
        if (pause := due - loop.time()) > 0:
            await asyncio.sleep(pause)
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                if connection is None:
                    connection = await asyncio.open_connection(run.host, run.port)
                keeps = await _exchange(run, *connection)
            run.latencies.append((loop.time() - due) * 1000)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            run.failures[type(error).__name__] += 1
            keeps = False
        if not keeps and connection is not None:
            connection[1].close()
            connection = None
    if connection is not None:
        connection[1].close()


async def _exchange(run: _Run, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Sends one request and reads its answer; says whether the connection may be used again."""
    writer.write(run.request)
    head = await reader.readuntil(b"\r\n\r\n")
    status, length = _STATUS.search(head), _LENGTH.search(head)
    if status is None or length is None:
        raise ValueError("an answer without status or content length")
    await reader.readexactly(int(length[1]))
    if status[1] != b"200":
        run.failures[f"status {status[1].decode()}"] += 1
    version = _VERSION.search(head)
    if version:
        run.versions[version[1].decode()] += 1
    return _CLOSE.search(head) is None


def _summarize(run: _Run) -> LoadReport:
    latencies = sorted(run.latencies) or [float("nan")]

    def quantile(share: float) -> float:
        return round(latencies[min(len(latencies) - 1, int(share * len(latencies)))], 2)

    return LoadReport(
        sent=run.total,
        failed=run.failures.total(),
        failures=dict(run.failures),
        p50_ms=quantile(0.5),
        p99_ms=quantile(0.99),
        p999_ms=quantile(0.999),
        worst_ms=round(latencies[-1], 2),
        versions=dict(run.versions),
    )
