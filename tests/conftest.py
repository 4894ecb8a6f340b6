"""The options of a test run: its time budget, how often `make test-long` repeats a test, and where a stack runs."""

from __future__ import annotations

import inspect
import os
import time
from pathlib import Path

import httpx
import hypothesis
import pytest

from tests.completeness import Completeness, must_be_whole

STARTED = time.monotonic()

ANSWER_SECONDS = 120
"""What a request of a test waits for an answer, unless it says how long: a starved machine takes more than five."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mlops-loop")
    group.addoption(
        "--minutes",
        type=float,
        default=os.environ.get("TEST_MINUTES") or "inf",
        help="time budget: a test that has not begun by then fails, and the rest does not run (TEST_MINUTES)",
    )
    group.addoption(
        "--everything",
        action="store_true",
        default=must_be_whole(),
        help="a test that is skipped, left out or not read fails the run (TEST_EVERYTHING=1, CI=true)",
    )
    group.addoption("--stack", type=Path, help="folder of a compose stack that runs already, for tests/e2e")
    group.addoption("--repeats", type=int, default=5, help="how often `make test-long` repeats what it repeats (5)")


def pytest_configure(config: pytest.Config) -> None:
    usual: httpx.Timeout = inspect.signature(httpx.get).parameters["timeout"].default
    usual.connect = usual.read = usual.write = usual.pool = ANSWER_SECONDS
    if config.option.everything:
        config.pluginmanager.register(Completeness(config))
        # The same examples in each run: a change fails by what it does, and other runs look for new ones.
        hypothesis.settings.load_profile("ci")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `repeat` runs once in every push, as number 0, and `--repeats` times in the long form."""
    if "repeat" in metafunc.fixturenames:
        long = [pytest.param(number, marks=pytest.mark.long) for number in range(1, metafunc.config.option.repeats + 1)]
        metafunc.parametrize("repeat", [0, *long])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    minutes = item.config.option.minutes
    if time.monotonic() - STARTED > minutes * 60:
        item.session.shouldfail = reason = f"the time budget of {minutes:.1f} minutes is over: the rest does not run"
        pytest.fail(f"{item.nodeid}: {reason}", pytrace=False)
