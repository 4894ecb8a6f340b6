"""Metrics of the predictions, for Prometheus and for the comparison of a canary with the champion.

Plain numbers that the event loop alone changes: a client library's counters, each with a lock, cost a request three
times as much. The labels are few, so that no client can grow them without end.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic

import prometheus_client
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.answering.cells import KINDS, Kind
from serving.answering.served import ServedModel
from serving.answering.tally import Tally
from serving.figures import LABELS

LATENCY_BUCKETS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.075),
    *(0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0),
)
"""Seconds; a row takes tens of microseconds, a batch of 10,000 some tens of milliseconds. Close enough to each other
to recognise a p99 of twice the stable one, or of 50 ms more."""

KEPT_SERIES = 20
"""Series of one model that stay readable; the one unused for longest gives way, as retraining makes new ones."""


type Labels = tuple[str, str, str, str]


@dataclass(slots=True)
class Series:
    """The figures of one version in one variant and one kind of traffic."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BUCKETS) + 1))
    seconds: float = 0.0
    failures: int = 0
    rows: int = 0
    nan_rows: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    warnings: Counter[Kind] = field(default_factory=Counter)
    value_sum: float = 0.0
    value_squares: float = 0.0
    used_at: float = 0.0


class PredictionMetrics(Collector):
    """Latencies, failures and predictions by model version, refusals by status.

    >>> PredictionMetrics(CollectorRegistry()).observe(served, LIVE, 0.0004, tally)
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._series: dict[Labels, Series] = {}
        self._refusals = prometheus_client.Counter(
            "mlops_prediction_refusals",
            "Requests for a prediction that were not answered with one",
            ["status"],
            registry=registry,
        )
        registry.register(self)

    def observe(self, served: ServedModel, traffic: str, seconds: float, tally: Tally) -> None:
        """Counts one answered request."""
        series = self._find(served, traffic)
        series.buckets[bisect_left(LATENCY_BUCKETS, seconds)] += 1
        series.seconds += seconds
        series.rows += tally.rows
        series.nan_rows += tally.nan_rows
        for name, rows in tally.classes.items():
            series.classes[name] += rows
        for kind, cells in tally.warnings.items():
            series.warnings[kind] += cells
        series.value_sum += tally.value_sum
        series.value_squares += tally.value_squares

    def count_failure(self, served: ServedModel, traffic: str) -> None:
        """Counts one request that a version failed to answer."""
        self._find(served, traffic).failures += 1

    def count_refusal(self, status: int) -> None:
        """Counts one request that got an error."""
        self._refusals.labels(str(status)).inc()

    def collect(self) -> Iterator[Metric]:
        """All figures, as Prometheus's text has them."""
        yield from _render(dict(self._series))

    def _find(self, served: ServedModel, traffic: str) -> Series:
        labels = (served.identity.name, served.identity.version, served.variant, traffic)
        series = self._series.get(labels)
        if series is None:
            series = self._add(labels)
        series.used_at = monotonic()
        return series

    def _add(self, labels: Labels) -> Series:
        of_model = [known for known in self._series if known[0] == labels[0]]
        if len(of_model) >= KEPT_SERIES:
            del self._series[min(of_model, key=lambda known: self._series[known].used_at)]
        return self._series.setdefault(labels, Series())


def _render(figures: dict[Labels, Series]) -> Iterator[Metric]:
    seconds = HistogramMetricFamily("mlops_prediction_seconds", "Seconds of computing an answer", labels=LABELS)
    failures = CounterMetricFamily(
        "mlops_prediction_failures", "Requests that a version failed to answer", labels=LABELS
    )
    rows = CounterMetricFamily("mlops_prediction_rows", "Rows answered", labels=LABELS)
    nan_rows = CounterMetricFamily("mlops_prediction_nan_rows", "Rows whose answer is not a number", labels=LABELS)
    classes = CounterMetricFamily(
        "mlops_prediction_classes", "Rows answered with each class", labels=[*LABELS, "class"]
    )
    warnings = CounterMetricFamily(
        "mlops_prediction_warnings", "Cells answered that training did not know", labels=[*LABELS, "kind"]
    )
    sums = GaugeMetricFamily("mlops_prediction_value_sum", "Sum of the values answered", labels=LABELS)
    squares = GaugeMetricFamily("mlops_prediction_value_squares", "Sum of their squares", labels=LABELS)
    for labels, series in figures.items():
        seconds.add_metric(labels, accumulate(LATENCY_BUCKETS, series.buckets), series.seconds)
        failures.add_metric(labels, series.failures)
        rows.add_metric(labels, series.rows)
        nan_rows.add_metric(labels, series.nan_rows)
        for name, count in series.classes.items():
            classes.add_metric([*labels, name], count)
        for kind in KINDS:
            warnings.add_metric([*labels, kind], series.warnings[kind])
        if not series.classes:
            sums.add_metric(labels, series.value_sum)
            squares.add_metric(labels, series.value_squares)
    return iter((seconds, failures, rows, nan_rows, classes, warnings, sums, squares))


def accumulate(bounds: Sequence[float], buckets: Sequence[int]) -> list[tuple[str, float]]:
    """Prometheus's buckets, which hold those below as well; `buckets` has one more than there are bounds."""
    total, accumulated = 0, []
    for bound, count in zip([*(str(bound) for bound in bounds), "+Inf"], buckets, strict=True):
        total += count
        accumulated.append((bound, float(total)))
    return accumulated
