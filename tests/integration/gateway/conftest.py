from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.gateway.containers import Fleet, wait_until


def has_engine() -> bool:
    try:
        return subprocess.run(["docker", "info"], check=False, capture_output=True, timeout=30).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    if here and not has_engine():
        print("\n*** NO DOCKER ENGINE ANSWERS: the tests of the gateway are SKIPPED ***")
        for item in here:
            item.add_marker(pytest.mark.skip(reason="no Docker engine answers `docker info`"))


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """An empty network for one test."""
    fleet = Fleet()
    try:
        yield fleet
    finally:
        fleet.close()


@pytest.fixture(scope="module")
def gateway() -> Iterator[httpx.Client]:
    """A gateway before two stable replicas and one canary, which a module's tests share."""
    fleet = Fleet()
    try:
        for service, name in (("serving", "one"), ("serving", "two"), ("serving-canary", "three")):
            fleet.start_replica(service, name)
        with httpx.Client(base_url=fleet.start_gateway()) as client:
            wait_until(lambda: client.get("/models").status_code == 200, "a stable replica answers")
            forced = {"X-Variant": "canary"}
            wait_until(
                lambda: client.get("/models", headers=forced).json().get("replica") == "three", "the canary answers"
            )
            yield client
    finally:
        fleet.close()
