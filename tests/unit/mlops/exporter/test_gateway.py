from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from mlops.exporter.gateway import Probe, judge, read_nginx
from serving.following.follower import Follower
from serving.registry.names import CHAMPION
from tests.unit.mlops.conftest import AppServer

STATUS = "Active connections: 3 \nserver accepts handled requests\n 11 10 29 \nReading: 0 Writing: 1 Waiting: 2 \n"


@pytest.fixture
def client(gateway: AppServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, headers={"X-Pool-Choice": "probe"}) as client:
        yield client


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def count(registry: CollectorRegistry) -> dict[str, float | None]:
    outcomes = ("answered", "no_model", "refused", "failed")
    return {name: registry.get_sample_value("mlops_probes_total", {"outcome": name}) for name in outcomes}


def samples(metrics: object) -> dict[tuple[str, ...], float]:
    assert isinstance(metrics, list)
    assert all(isinstance(metric, Metric) for metric in metrics)
    return {(s.name, *s.labels.values()): s.value for metric in metrics for s in metric.samples}


@pytest.mark.parametrize("model", ["iris", "ships"])
def test_a_probe_is_a_prediction_with_an_example_of_the_model(
    gateway: AppServer, client: httpx.Client, registry: CollectorRegistry, model: str
) -> None:
    probe = Probe(client, model, registry)
    first, second = samples(probe.read()), samples(probe.read())
    assert first == second
    assert first["mlops_probe_success",] == 1
    assert first["mlops_model_served_info", "iris", "7", "champion"] == 1
    assert count(registry) == {"answered": 2, "no_model": 0, "refused": 0, "failed": 0}
    assert registry.get_sample_value("mlops_probe_seconds_count") == 2
    assert len(gateway.bodies) == 2


def test_a_probe_counts_as_no_clients_request(
    client: httpx.Client, registry: CollectorRegistry, metrics: CollectorRegistry
) -> None:
    Probe(client, "iris", registry).read()
    of = {"model": "iris", "version": "7", "variant": CHAMPION}
    rows = "mlops_prediction_rows_total"
    assert metrics.get_sample_value(rows, {**of, "traffic": "probe"})
    assert metrics.get_sample_value(rows, {**of, "traffic": "live"}) is None


def test_a_model_without_a_version_is_told_from_a_failure(
    client: httpx.Client, registry: CollectorRegistry, follower: Follower
) -> None:
    probe = Probe(client, "iris", registry)
    served = follower.slots.pop(("iris", CHAMPION))
    assert samples(probe.read())["mlops_probe_success",] == 0
    follower.slots["iris", CHAMPION] = served
    assert samples(probe.read())["mlops_probe_success",] == 1
    assert count(registry) == {"answered": 1, "no_model": 1, "refused": 0, "failed": 0}


def test_a_probe_looks_for_its_rows_again_after_a_failure(
    gateway: AppServer, client: httpx.Client, registry: CollectorRegistry
) -> None:
    """The next version may read other columns."""
    probe = Probe(client, "iris", registry)
    probe.read()
    gateway.refusals += [422, 200, 500]
    probe.read()
    probe.read()
    assert count(registry) == {"answered": 1, "no_model": 0, "refused": 1, "failed": 1}


def test_a_gateway_that_is_away_is_a_failure(registry: CollectorRegistry) -> None:
    with httpx.Client(base_url="http://127.0.0.1:9") as client:
        found = samples(Probe(client, "iris", registry).read())
    assert found == {("mlops_probe_success",): 0}
    assert count(registry) == {"answered": 0, "no_model": 0, "refused": 0, "failed": 1}


@pytest.mark.parametrize(
    ("status", "text", "outcome"),
    [
        (200, "{}", "answered"),
        (503, '{"error":"the model has no version that can answer"}', "no_model"),
        (503, '{"error":"no replica answers"}', "failed"),
        (401, "{}", "refused"),
        (429, "{}", "refused"),
        (500, "{}", "failed"),
        (308, "", "failed"),
    ],
)
def test_an_answer_has_one_outcome(status: int, text: str, outcome: str) -> None:
    assert judge(httpx.Response(status, text=text)) == outcome


def answer_with(text: str) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(200, text=text)


def test_the_gateways_counters_are_read() -> None:
    with httpx.Client(transport=httpx.MockTransport(answer_with(STATUS))) as client:
        found = samples(read_nginx(client, "http://nginx:8002/nginx"))
    assert found["mlops_nginx_connections", "active"] == 3
    assert found["mlops_nginx_connections", "waiting"] == 2
    assert found["mlops_nginx_requests_total",] == 29
    assert found["mlops_nginx_accepted_connections_total",] == 11
    assert found["mlops_nginx_dropped_connections_total",] == 1


def test_another_page_is_no_counter() -> None:
    with (
        httpx.Client(transport=httpx.MockTransport(answer_with("<html>"))) as client,
        pytest.raises(ValueError, match="expected Nginx' stub_status, found 6 other characters"),
    ):
        read_nginx(client, "http://nginx:8002/nginx")
