"""Whether a Docker engine answers, and the loud skip of the tests that need one."""

from __future__ import annotations

import subprocess

import pytest


def skip_without_engine(items: list[pytest.Item], what: str) -> None:
    """Marks the tests as `engine`, and skips them where no engine answers, with a line that nobody overlooks."""
    for item in items:
        item.add_marker(pytest.mark.engine)
    if not items or has_engine():
        return
    print(f"\n*** NO DOCKER ENGINE ANSWERS: {what} are SKIPPED ***")
    for item in items:
        item.add_marker(pytest.mark.skip(reason="no Docker engine answers `docker info`"))


def has_engine() -> bool:
    try:
        return subprocess.run(["docker", "info"], check=False, capture_output=True, timeout=30).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
