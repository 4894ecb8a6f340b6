"""Counts of all requests by path and status, under the names that BentoML gives them.

Plain numbers that the event loop alone changes: BentoML's own middleware looks up eight counters for each request and
locks them, which took a sixth of the time of a prediction.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.api.metrics import accumulate

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 180.0)
"""Seconds, as BentoML has them."""

ENDPOINTS = frozenset(
    {
        "/predict",
        "/models",
        "/rollouts",
        "/docs",
        "/openapi.json",
        "/metrics",
        "/evidence",
        "/healthz",
        "/livez",
        "/readyz",
    },
)
"""Paths that the metrics name; no client can grow them without end."""

METRICS_PATH = "/metrics"
"""Reading the figures does not change them."""

HEALTH_PATHS = frozenset({METRICS_PATH, "/healthz", "/livez", "/readyz"})

COMMON = {"service_name": "predictions", "service_version": "not available", "runner_name": "predictions"}
"""Labels that are the same for all requests."""

NAME = "bentoml_service"


@dataclass(slots=True)
class Durations:
    """How long the requests with one path and status took."""

    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))


class Traffic(Collector):
    """Counts the requests of a replica.

    >>> label = traffic.begin("/predict")
    >>> traffic.end(label, 200, 0.0004)
    """

    def __init__(self) -> None:
        self._durations: dict[tuple[str, int], Durations] = {}
        self._open: Counter[str] = Counter()
        self._last = 0.0

    def begin(self, path: str) -> str:
        """Counts a request that begins, and returns the label of its path; empty where it is not counted."""
        if path == METRICS_PATH:
            return ""
        label = bound_endpoint(path)
        self._open[label] += 1
        if label not in HEALTH_PATHS:
            self._last = time.time()
        return label

    def end(self, label: str, status: int, seconds: float) -> None:
        """Counts a request that ends; a status of 0 is a request without a response."""
        if not label:
            return
        self._open[label] -= 1
        if not status:
            return
        durations = self._durations.get((label, status))
        if durations is None:
            durations = self._durations[label, status] = Durations()
        durations.seconds += seconds
        durations.buckets[bisect_left(BUCKETS, seconds)] += 1

    def collect(self) -> Iterator[Metric]:
        """The figures, as Prometheus's text has them."""
        names, values = list(COMMON), list(COMMON.values())
        by_status = ["endpoint", "http_response_code", *names]
        total = CounterMetricFamily(f"{NAME}_request", "Total number of requests", labels=by_status)
        duration = HistogramMetricFamily(f"{NAME}_request_duration_seconds", "Seconds of a request", labels=by_status)
        for (label, status), found in dict(self._durations).items():
            total.add_metric([label, str(status), *values], sum(found.buckets))
            duration.add_metric([label, str(status), *values], accumulate(BUCKETS, found.buckets), found.seconds)
        under_way = GaugeMetricFamily(f"{NAME}_request_in_progress", "Requests under way", labels=["endpoint", *names])
        for label, count in dict(self._open).items():
            under_way.add_metric([label, *values], count)
        last = GaugeMetricFamily(
            f"{NAME}_last_request_timestamp_seconds", "Time of the last request, except those for health", labels=names
        )
        if self._last:
            last.add_metric(values, self._last)
        return iter((total, duration, under_way, last))


def bound_endpoint(path: str) -> str:
    """The label of a path: a known one, or one word for everything else."""
    if path in ENDPOINTS:
        return path
    if path.startswith("/models/") and path.endswith("/predict"):
        return "/models/{name}/predict"
    if path.startswith("/v2/"):
        return "/v2/models/{name}/infer" if path.endswith("/infer") else "/v2"
    return "other"
