"""What a client sees: one prediction through the gateway, and the gateway's own counters.

The prediction carries the monitoring's token, by which the gateway marks it: it is neither logged nor compared, and
counts as no client's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import httpx
import prometheus_client
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

PROBE_SECONDS = 5.0
"""A client would have given up."""

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

ANSWERED, NO_MODEL, REFUSED, FAILED = "answered", "no_model", "refused", "failed"
OUTCOMES = (ANSWERED, NO_MODEL, REFUSED, FAILED)
"""A prediction; no version serves yet; a 4xx, such as of a token; anything else, or silence."""

STATUS = re.compile(
    r"Active connections: (\d+) \nserver accepts handled requests\n (\d+) (\d+) (\d+) \n"
    r"Reading: (\d+) Writing: (\d+) Waiting: (\d+)"
)


class Probe:
    """Asks the default model for one prediction at a time, with a row of its own description.

    >>> Probe(httpx.Client(base_url="http://nginx:8001"), "iris", CollectorRegistry()).read()
    """

    def __init__(self, client: httpx.Client, model: str, registry: CollectorRegistry) -> None:
        self._client = client
        self._model = model
        self._rows: Any = None
        self._probes = prometheus_client.Counter(
            "mlops_probes", "Predictions that the monitoring asked for", ["outcome"], registry=registry
        )
        self._seconds = prometheus_client.Histogram(
            "mlops_probe_seconds", "Seconds until the gateway answered", buckets=BUCKETS, registry=registry
        )
        for outcome in OUTCOMES:
            self._probes.labels(outcome)

    def read(self) -> Sequence[Metric]:
        """Probes once, and lists which version serves each model."""
        outcome = self._probe()
        self._probes.labels(outcome).inc()
        if outcome != ANSWERED:
            self._rows = None
        up = GaugeMetricFamily("mlops_probe_success", "Whether the last prediction was answered")
        up.add_metric([], float(outcome == ANSWERED))
        return [up, self._list_models()]

    def _probe(self) -> str:
        try:
            if self._rows is None:
                self._rows = self._find_rows()
            if self._rows is None:
                return NO_MODEL
            began = perf_counter()
            answer = self._client.post(f"/models/{self._model}/predict", json=self._rows)
            self._seconds.observe(perf_counter() - began)
        except (httpx.HTTPError, ValueError, LookupError, TypeError):
            return FAILED
        return judge(answer)

    def _find_rows(self) -> Any:
        """Rows that the model's own description shows as an example; None while no version serves."""
        answer = self._client.get("/openapi.json").raise_for_status().json()
        operation = answer["paths"].get(f"/models/{self._model}/predict", {}).get("post")
        if operation is None:
            return None
        examples = operation["requestBody"]["content"]["application/json"]["examples"]
        return next(iter(examples.values()))["value"]

    def _list_models(self) -> Metric:
        served = GaugeMetricFamily(
            "mlops_model_served_info", "Versions that the gateway lists", labels=["model", "version", "variant"]
        )
        try:
            models = self._client.get("/models").raise_for_status().json()["models"]
            for model in models:
                served.add_metric([model["name"], model["version"], model["variant"]], 1)
        except (httpx.HTTPError, ValueError, LookupError, TypeError):
            return GaugeMetricFamily(served.name, served.documentation, labels=["model", "version", "variant"])
        return served


def judge(answer: httpx.Response) -> str:
    """The outcome of a probe, by its answer."""
    if answer.status_code == httpx.codes.OK:
        return ANSWERED
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE and "version" in answer.text:
        return NO_MODEL
    return REFUSED if answer.is_client_error else FAILED


def read_nginx(client: httpx.Client, url: str) -> Sequence[Metric]:
    """The gateway's connections and requests.

    Raises:
        httpx.HTTPError: nothing answers.
        ValueError: something else than Nginx does.
    """
    text = client.get(url).raise_for_status().text
    found = STATUS.match(text)
    if found is None:
        raise ValueError(f"{url}: expected Nginx' stub_status, found {len(text)} other characters")
    active, accepted, handled, requests, reading, writing, waiting = map(int, found.groups())
    connections = GaugeMetricFamily("mlops_nginx_connections", "Connections of the gateway", labels=["state"])
    for state, count in (("active", active), ("reading", reading), ("writing", writing), ("waiting", waiting)):
        connections.add_metric([state], count)
    counters = []
    for name, text, count in (
        ("accepted_connections", "Connections that the gateway accepted", accepted),
        ("dropped_connections", "Connections that it had to close at once", accepted - handled),
        ("requests", "Requests that it took", requests),
    ):
        counter = CounterMetricFamily(f"mlops_nginx_{name}", text)
        counter.add_metric([], count)
        counters.append(counter)
    return [connections, *counters]
