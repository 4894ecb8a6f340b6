"""Sources of figures: each is read in a thread of its own, and a scrape gets what was read last.

A scrape never waits for Airflow or for the database. A source that fails has no figures but `mlops_exporter_source_up`
until it is read again: an old figure would hide that nobody knows the present one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import httpx
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ml_code.errors import MlopsError
from mlops.errors import LocalStackError

FAILURES = (MlopsError, LocalStackError, httpx.HTTPError, OSError, ValueError, LookupError, TypeError)
"""Ways in which a source is away, or answers something else than it should."""

logger = logging.getLogger("exporter")


@dataclass(frozen=True, slots=True)
class Source:
    """What is read together, and how often."""

    name: str
    seconds: float
    read: Callable[[], Sequence[Metric]]


class Sources(Collector):
    """The figures that all sources gave last.

    >>> sources = Sources([Source("warehouse", 30, read_warehouse)])
    >>> sources.start()
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._found: dict[str, Sequence[Metric] | None] = {}
        self._read_at: dict[str, float] = {}
        self._problems: dict[str, str] = {}
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=[source], name=source.name, daemon=True) for source in sources
        ]

    def start(self) -> None:
        """Starts a thread for each source."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the threads after what they are reading now."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def read(self, source: Source) -> None:
        """Reads a source once."""
        try:
            self._found[source.name] = source.read()
        except FAILURES as error:
            self._found[source.name] = None
            self._tell(source.name, str(error) or type(error).__name__)
        else:
            self._read_at[source.name] = time.time()
            self._tell(source.name, "")

    def collect(self) -> Iterator[Metric]:
        """The figures, as Prometheus's text has them."""
        up = GaugeMetricFamily(
            "mlops_exporter_source_up", "Whether the last reading of a source succeeded", labels=["source"]
        )
        read_at = GaugeMetricFamily(
            "mlops_exporter_source_read_timestamp_seconds", "When a source was last read", labels=["source"]
        )
        for name, metrics in dict(self._found).items():
            up.add_metric([name], float(metrics is not None))
            yield from metrics or ()
        for name, moment in dict(self._read_at).items():
            read_at.add_metric([name], moment)
        yield from (up, read_at)

    def _run(self, source: Source) -> None:
        while not self._stop.is_set():
            self.read(source)
            self._stop.wait(source.seconds)

    def _tell(self, name: str, problem: str) -> None:
        """Logs a change, and not each of many equal readings."""
        before = self._problems.get(name, "")
        self._problems[name] = problem
        if problem and not before:
            logger.warning("%s: expected to read it, found: %s; it is tried again", name, problem)
        elif before and not problem:
            logger.warning("%s: read again", name)
