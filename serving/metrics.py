"""What Prometheus reads of the predictions: few labels, so that no client can grow them without end."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from serving.served import ServedModel

LATENCY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0)
"""Seconds; a row takes tens of microseconds, a batch of 10,000 some tens of milliseconds."""

KEPT_VERSIONS = 20
"""Versions whose figures stay readable; the oldest give way, as retraining makes new ones for ever."""

ENDPOINTS = frozenset(
    {"/predict", "/models", "/docs", "/openapi.json", "/metrics", "/healthz", "/livez", "/readyz"},
)


class PredictionMetrics:
    """Latencies by model version, refusals by status.

    >>> PredictionMetrics(CollectorRegistry()).observe(served, 0.0004)
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "mlops_prediction_seconds",
            "Seconds from a request's body to its answer",
            ["model", "version", "variant"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._refusals = Counter(
            "mlops_prediction_refusals",
            "Requests for a prediction that were not answered with one",
            ["status"],
            registry=registry,
        )
        self._by_labels: dict[tuple[str, str, str], Histogram] = {}

    def observe(self, served: ServedModel, seconds: float) -> None:
        """Counts one answered request."""
        labels = (served.identity.name, served.identity.version, served.variant)
        histogram = self._by_labels.get(labels)
        if histogram is None:
            histogram = self._add(labels)
        histogram.observe(seconds)

    def count_refusal(self, status: int) -> None:
        """Counts one request that got an error."""
        self._refusals.labels(str(status)).inc()

    def _add(self, labels: tuple[str, str, str]) -> Histogram:
        if len(self._by_labels) >= KEPT_VERSIONS:
            oldest = next(iter(self._by_labels))
            del self._by_labels[oldest]
            self._seconds.remove(*oldest)
        histogram = self._seconds.labels(*labels)
        self._by_labels[labels] = histogram
        return histogram


def bound_endpoint(path: str) -> str:
    """The label of a path: a known one, or one word for everything else."""
    if path in ENDPOINTS:
        return path
    if path.startswith("/models/") and path.endswith("/predict"):
        return "/models/{name}/predict"
    return "other"
