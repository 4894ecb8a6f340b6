from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.engine import skip_without_engine
from tests.integration.gateway.containers import Fleet, wait_until


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    skip_without_engine(here, "the tests of the gateway")


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """An empty network for one test."""
    fleet = Fleet()
    try:
        yield fleet
    finally:
        fleet.close()


@pytest.fixture(scope="module")
def full_fleet() -> Iterator[Fleet]:
    """Two stable replicas and one canary, which a module's tests share; a test may add gateways and nothing else."""
    fleet = Fleet()
    try:
        for service, name in (("serving", "one"), ("serving", "two"), ("serving-canary", "three")):
            fleet.start_replica(service, name)
        yield fleet
    finally:
        fleet.close()


@pytest.fixture(scope="module")
def gateway(full_fleet: Fleet) -> Iterator[httpx.Client]:
    """A gateway before these replicas, which a module's tests share."""
    with httpx.Client(base_url=full_fleet.start_gateway()) as client:
        wait_until(lambda: client.get("/models").status_code == 200, "a stable replica answers")
        forced = {"X-Variant": "canary"}
        wait_until(lambda: client.get("/models", headers=forced).json().get("replica") == "three", "the canary answers")
        yield client
