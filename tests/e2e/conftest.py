from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.publishing import Publisher, make_good
from tests.e2e.rollouts import Rollouts
from tests.e2e.stack import Airflow, Stack
from tests.engine import skip_without_engine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in here:
        item.add_marker(pytest.mark.timeout(1800))
    skip_without_engine(here, "the e2e tests of the compose project")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("clone"))
    stack.create()
    stack.compose("down", "--volumes", "--remove-orphans")
    try:
        stack.up()
        yield stack
    finally:
        # Nothing is to be kept, so nobody is given the time to end well.
        stack.compose("down", "--volumes", "--remove-orphans", "--timeout", "1")


@pytest.fixture(scope="session")
def airflow(stack: Stack) -> Iterator[Airflow]:
    with closing(Airflow(stack)) as airflow:
        yield airflow


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
