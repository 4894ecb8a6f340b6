"""`make up PROFILE=observability` on the stack of the other tests, as far as its images are here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml

from tests.e2e.conftest import FLOWER
from tests.e2e.stack import WITH_OBSERVABILITY, Stack, docker
from tests.repo.repository import OBSERVABILITY_FILE, list_profile_services
from tests.repo.test_dashboards import BOARDS
from tests.waiting import wait_until

pytestmark = pytest.mark.long

STARTED = ("nginx", "exporter", "prometheus")


class Prometheus:
    """What a person asks Prometheus on this machine."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=f"{url}/api/v1", timeout=60)

    def query(self, expression: str) -> list[dict[str, Any]]:
        answer = self._client.get("/query", params={"query": expression}).raise_for_status().json()
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def count_up(self, job: str) -> int:
        return len(self.query(f'up{{job="{job}"}} == 1'))

    def list_firing(self) -> set[str]:
        found = self.query('ALERTS{alertstate="firing"}')
        return {alert["metric"]["alertname"] for alert in found}


@pytest.fixture(scope="module")
def prometheus(stack: Stack, trained: str) -> Iterator[Prometheus]:
    """Prometheus beside a stack that serves; afterwards the stack is as it was."""
    assert trained
    stack.compose(*WITH_OBSERVABILITY, "up", "--detach", "--wait", *STARTED, timeout=900)
    try:
        prometheus = Prometheus(f"http://127.0.0.1:{stack.port('PROMETHEUS_PORT')}")
        jobs = {"serving": 2, "serving-canary": 1, "exporter": 1}
        wait_until(
            lambda: {job: prometheus.count_up(job) for job in jobs} == jobs, 120, "every process is scraped", 2.0
        )
        yield prometheus
    finally:
        stack.compose(*WITH_OBSERVABILITY, "rm", "--stop", "--force", "exporter", "prometheus")
        stack.compose("up", "--detach", "--wait", "nginx", timeout=900)


def test_compose_merges_the_files_as_the_rules_expect(stack: Stack) -> None:
    merged = yaml.safe_load(stack.compose(*WITH_OBSERVABILITY, "config").stdout)["services"]
    expected = list_profile_services(OBSERVABILITY_FILE)
    for part in ("environment", "networks"):
        assert {name: set(service.get(part) or ()) for name, service in merged.items()} == {
            name: set(service.get(part) or ()) for name, service in expected.items()
        }


def test_each_source_gives_its_figures(stack: Stack, prometheus: Prometheus) -> None:
    def read_sources() -> set[str]:
        return {found["metric"]["source"] for found in prometheus.query("mlops_exporter_source_up == 1")}

    sources = {"machine", "gateway", "nginx", "airflow", "warehouse"}
    wait_until(lambda: read_sources() == sources, 120, lambda: f"all sources, found {read_sources()}", 2.0)
    wait_until(lambda: prometheus.query("mlops_probe_success == 1"), 60, "the probe is answered", 2.0)
    assert prometheus.query('mlops_champion_moved_timestamp_seconds{model="iris"}')
    assert prometheus.query('mlops_airflow_component_healthy{component="scheduler"} == 1')
    logged = stack.query_warehouse("SELECT count(*) FROM warehouse.promotion_log WHERE who LIKE '%monitor%'")
    assert logged == "0"


@pytest.fixture
def rows(stack: Stack) -> Iterator[None]:
    """Figures of a model that have come with time, where the tests before have left none."""
    window = "'2000-01-01', '2000-01-02'"
    live = f"'observability', '1', 'champion', {window}, '', 'accuracy', 0.9, 0.8, 1, 9, 9, 1, 0.9, 'd'"
    drift = f"'observability', '1', {window}, 'clean', 9, '{{}}'"
    stack.query_warehouse(
        "INSERT INTO warehouse.live_metric (model, version, variant, window_start, window_end, slice, metric, score, "
        f"low, high, rows, labelled, coverage, holdout, labels_digest) VALUES ({live}); "
        "INSERT INTO warehouse.drift_window (model, version, window_start, window_end, verdict, rows, figures) "
        f"VALUES ({drift}); "
        "INSERT INTO warehouse.prediction_collection (collection, began_at, segments, rows, dropped, torn, unreadable) "
        "VALUES ('observability', '2000-01-01', 0, 0, 0, 0, 0)"
    )
    yield
    stack.query_warehouse(
        "DELETE FROM warehouse.live_metric WHERE model = 'observability'; "
        "DELETE FROM warehouse.drift_window WHERE model = 'observability'; "
        "DELETE FROM warehouse.prediction_collection WHERE collection = 'observability'"
    )


def test_every_panel_of_the_dashboards_has_data(stack: Stack, prometheus: Prometheus, rows: None) -> None:
    queries = {
        f"{board['title']}/{panel['title']}": target["expr"]
        for board in BOARDS.values()
        for panel in board["panels"]
        for target in panel["targets"]
    }

    def find_empty() -> list[str]:
        for body in ([FLOWER], [FLOWER], "no rows"):
            stack.predict(body)
        return [name for name, query in queries.items() if not prometheus.query(query)]

    wait_until(lambda: not find_empty(), 120, lambda: f"data in every panel, found none in {find_empty()}", 3.0)


def test_the_start_page_gets_the_figures_of_the_last_hour(stack: Stack, prometheus: Prometheus) -> None:
    names = {"mlops:predictions:rate1m", "mlops:prediction_seconds:p99_5m", "mlops:prediction_error_ratio:5m"}

    def read_newest() -> dict[str, float]:
        stack.predict([FLOWER])
        answer = httpx.get(f"{stack.gateway}/status/figures", timeout=15).raise_for_status().json()
        return {found["metric"]["__name__"]: float(found["values"][-1][1]) for found in answer["data"]["result"]}

    wait_until(
        lambda: (found := read_newest()).keys() == names and found["mlops:prediction_seconds:p99_5m"] > 0,
        120,
        lambda: f"a value of each figure, found {read_newest()}",
        1.0,
    )


def test_a_killed_replica_is_an_alert_until_it_is_back(stack: Stack, prometheus: Prometheus) -> None:
    wait_until(lambda: "ReplicaDown" not in prometheus.list_firing(), 120, "no replica is missed", 2.0)
    victim = stack.containers("serving")[0]
    docker("kill", victim)
    began = time.monotonic()
    try:
        wait_until(lambda: "ReplicaDown" in prometheus.list_firing(), 300, "the alert fires", 1.0)
        print(f"\nkill of a replica: the alert fires after {time.monotonic() - began:.0f} s")
    finally:
        docker("start", victim)
        began = time.monotonic()
    wait_until(lambda: "ReplicaDown" not in prometheus.list_firing(), 300, "the alert has ended", 1.0)
    print(f"\nstart of the replica: the alert has ended after {time.monotonic() - began:.0f} s")
