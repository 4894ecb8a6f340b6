"""Waiting until something comes true, for every test that waits."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until[Found](
    probe: Callable[[], Found | None],
    seconds: float,
    what: str | Callable[[], object],
    interval_seconds: float = 0.25,
) -> Found:
    """Calls the probe until it returns something true, and returns that.

    Args:
        probe: Called at least once, and once more after the time is over.
        seconds: How long to wait.
        what: What is expected, for the message of the failure; a function is called when the time is over.
        interval_seconds: Pause between two calls.

    Raises:
        AssertionError: The time is over and the probe has found nothing.
    """
    deadline = time.monotonic() + seconds
    while True:
        is_last = time.monotonic() >= deadline
        if found := probe():
            return found
        if is_last:
            raise AssertionError(f"expected within {seconds:.0f} s: {what if isinstance(what, str) else what()}")
        time.sleep(interval_seconds)
