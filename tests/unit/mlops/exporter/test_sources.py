from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric

from ml_code.errors import WarehouseError
from mlops.exporter.sources import Source, Sources
from tests.waiting import wait_until


class Thing:
    """A source that can be taken away."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.readings = 0

    def read(self) -> Sequence[Metric]:
        self.readings += 1
        if self.error:
            raise self.error
        gauge = GaugeMetricFamily("mlops_thing", "A thing")
        gauge.add_metric([], self.readings)
        return [gauge]


@pytest.fixture
def thing() -> Thing:
    return Thing()


@pytest.fixture
def source(thing: Thing) -> Source:
    return Source("thing", 0.01, thing.read)


@pytest.fixture
def sources(source: Source) -> Sources:
    return Sources([source])


@pytest.fixture
def registry(sources: Sources) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(sources)
    return registry


def test_a_source_that_was_not_read_yet_has_no_figure(registry: CollectorRegistry) -> None:
    assert registry.get_sample_value("mlops_thing") is None
    assert registry.get_sample_value("mlops_exporter_source_up", {"source": "thing"}) is None


def test_a_source_that_fails_has_no_old_figure(
    registry: CollectorRegistry, sources: Sources, source: Source, thing: Thing
) -> None:
    sources.read(source)
    assert registry.get_sample_value("mlops_thing") == 1
    read_at = registry.get_sample_value("mlops_exporter_source_read_timestamp_seconds", {"source": "thing"})
    thing.error = WarehouseError("away")
    sources.read(source)
    assert registry.get_sample_value("mlops_thing") is None
    assert registry.get_sample_value("mlops_exporter_source_up", {"source": "thing"}) == 0
    assert registry.get_sample_value("mlops_exporter_source_read_timestamp_seconds", {"source": "thing"}) == read_at
    thing.error = None
    sources.read(source)
    assert registry.get_sample_value("mlops_thing") == 3
    assert registry.get_sample_value("mlops_exporter_source_up", {"source": "thing"}) == 1


def test_a_failure_is_logged_once_and_its_end_too(
    sources: Sources, source: Source, thing: Thing, caplog: pytest.LogCaptureFixture
) -> None:
    thing.error = WarehouseError("away")
    for _ in range(3):
        sources.read(source)
    thing.error = None
    for _ in range(3):
        sources.read(source)
    assert caplog.messages == ["thing: expected to read it, found: away; it is tried again", "thing: read again"]


def test_sources_are_read_again_and_again_until_they_are_stopped(sources: Sources, thing: Thing) -> None:
    thing.error = OSError("away")
    sources.start()
    wait_until(lambda: thing.readings >= 3, 30, "three readings, whatever fails")
    sources.stop()
    assert "thing" not in {thread.name for thread in threading.enumerate()}
