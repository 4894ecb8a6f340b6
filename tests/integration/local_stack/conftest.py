"""The stack without Docker, once for all tests that need a whole one: no engine is asked for."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops.local.stack import LocalStack
from mlops.local.state import StateFolder
from tests.integration.local_stack.demo_process import DemoProcess, run_mlops


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(3600))


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state folder of every test: those of the interruptions leave what the whole stack starts from."""
    state = tmp_path_factory.mktemp("local") / "a state"
    yield state
    assert run_mlops("local", "reset", "--yes", "--state", str(state)).returncode == 0
    assert not state.exists()


@pytest.fixture(scope="module")
def demo(state: Path) -> Iterator[DemoProcess]:
    """`mlops demo`, which keeps running once version 1 of iris answers."""
    demo = DemoProcess(state)
    try:
        demo.wait_for("Ctrl-C ends it")
        yield demo
    finally:
        if demo.process.poll() is None:
            demo.end(signal.SIGINT)
        print(demo.output)


@pytest.fixture(scope="module")
def stack(demo: DemoProcess) -> LocalStack:
    """What the demo leaves running."""
    return LocalStack(StateFolder(demo.state))
