"""A limit for machines that are too slow for all of the tests.

With `TEST_MINUTES` set, a test that has not begun by then is skipped, and the summary says so and how many they are.
"""

from __future__ import annotations

import os
import time

import pytest

STARTED = time.monotonic()
MINUTES = float(os.environ.get("TEST_MINUTES") or "inf")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    if time.monotonic() - STARTED > MINUTES * 60:
        pytest.skip(f"not begun within TEST_MINUTES={MINUTES:g}: run `make test` without it, or on a faster machine")
