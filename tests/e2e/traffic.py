"""Constant arrival at the gateway, from a process of its own so that no test slows it."""

from __future__ import annotations

import json
import multiprocessing
import random
from collections.abc import Sequence
from multiprocessing.synchronize import Event
from types import TracebackType
from typing import Any, Self

from tests.benchmarks.load import LoadReport, run_load

LONGEST_SECONDS = 3600.0
RANGES = ((4.3, 7.9), (2.0, 4.4), (1.0, 6.9), (0.1, 2.5))
"""Of iris's four features."""


def make_rows(longest_sepal: float = 7.9, count: int = 200) -> list[bytes]:
    """Bodies of one row each, spread over the features' ranges: the same row again would look like a stuck model."""
    chance = random.Random(1)
    ranges = ((4.3, longest_sepal), *RANGES[1:])
    return [json.dumps([[round(chance.uniform(*bounds), 1) for bounds in ranges]]).encode() for _ in range(count)]


class Traffic:
    """A load that lasts as long as its block; `report` is there afterwards.

    >>> with Traffic(f"{stack.gateway}/predict", rate_per_second=200) as traffic:
    ...     kill_a_replica()
    >>> traffic.report.failed
    0
    """

    def __init__(
        self,
        url: str,
        *,
        rate_per_second: float,
        connections: int = 16,
        bodies: Sequence[bytes] | None = None,
        **headers: str,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._over = context.Event()
        self._ready = context.Event()
        self._results, sender = context.Pipe(duplex=False)
        options: dict[str, Any] = {
            "body": bodies or make_rows(),
            "rate_per_second": rate_per_second,
            "connections": connections,
            "headers": {name.replace("_", "-"): text for name, text in headers.items()},
        }
        self._process = context.Process(target=_send, args=(url, options, self._ready, self._over, sender))
        self._report: LoadReport | None = None

    def __enter__(self) -> Self:
        self._process.start()
        assert self._ready.wait(60), "expected the load to start within 60 s"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._results.poll(60):
            self._report = self._results.recv()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()

    @property
    def report(self) -> LoadReport:
        """What the load saw."""
        assert self._report is not None, "expected a report of the load, found none"
        return self._report


def _send(url: str, options: dict[str, Any], ready: Event, over: Event, results: Any) -> None:
    ready.set()
    results.send(run_load(url, seconds=LONGEST_SECONDS, is_over=over.is_set, **options))
