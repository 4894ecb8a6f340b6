from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.airflow import TRAIN, Airflow
from tests.e2e.own_copy import make_copy, remove
from tests.e2e.publishing import Publisher, make_good
from tests.e2e.rollouts import Rollouts
from tests.e2e.stack import Stack
from tests.engine import skip_without_engine
from tests.waiting import wait_until

TOUR = (
    "test_loop",
    "test_new_data",
    "test_own_data",
    "test_pipelines",
    "test_housekeeping",
    "test_closed_loop",
    "test_ab_test",
    "test_rollouts",
    "test_rollbacks",
    "test_replicas",
    "test_scaling",
    "test_smoke",
    "test_secrets",
    "test_observability",
    "test_outages",
    "test_restarts",
    "test_worker_faults",
    "test_worker_elsewhere",
    "test_worker",
    "test_full_disks",
    "test_backup",
    "test_upgrade",
)
"""One stack serves all modules: the first needs it empty, each finds what others have trained, the last ends it."""

FLOWER = [5.1, 3.5, 1.4, 0.2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in here:
        item.add_marker(pytest.mark.timeout(1800))
    skip_without_engine(here, "the e2e tests of the compose project")
    others = [item for item in items if item not in here]
    items[:] = [*others, *sorted(here, key=lambda item: TOUR.index(item.path.stem))]


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if running := request.config.option.stack:
        yield Stack(running)
        return
    stack = make_copy(tmp_path_factory.mktemp("copy"))
    try:
        stack.up()
        yield stack
    finally:
        remove(stack.project)


@pytest.fixture(scope="session")
def airflow(stack: Stack) -> Iterator[Airflow]:
    with closing(Airflow(stack)) as airflow:
        yield airflow


@pytest.fixture(scope="module")
def trained(stack: Stack, airflow: Airflow) -> str:
    """The version of iris that answers when all that was begun has ended; one is trained where there is none."""
    airflow.wait_for_quiet()
    if stack.read_version("iris", FLOWER) is None:
        airflow.run(TRAIN, dataset="iris", model_type="sklearn", estimator="linear")
    return wait_until(lambda: stack.read_version("iris", FLOWER), 600, "a version of iris answers")


@pytest.fixture(scope="module")
def publisher(stack: Stack) -> Iterator[Publisher]:
    with closing(Publisher(stack)) as publisher:
        yield publisher


@pytest.fixture(scope="module")
def rollouts(stack: Stack, airflow: Airflow) -> Rollouts:
    return Rollouts(stack, airflow)


@pytest.fixture
def champion(publisher: Publisher) -> str:
    """The version that every replica answers with; one is made where there is none."""
    aliases = publisher.read_model()["aliases"] if publisher.exists() else {}
    version = aliases.get("champion") or publisher.publish(make_good())
    publisher.serve(version)
    return version
