"""The order of the parts of `make test`, with commands of a few lines in their place."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import run as suite
from tests.run import Report, run_parts

PART = """
import os, sys, time
name, other = sys.argv[1:3]
open(f"{name} began", "w").write(str(os.nice(0)))
ended = time.monotonic() + 30
while other and not os.path.exists(f"{other} began") and time.monotonic() < ended:
    time.sleep(0.01)
print(name, "says:", sorted(file for file in os.listdir() if file.endswith("began")))
sys.exit(3 if name == "fast" else 0)
"""


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    """Its part `fast` fails, and waits until `e2e` has begun."""
    monkeypatch.chdir(tmp_path)
    waits = {"fast": "e2e", "e2e": "fast", "integration": ""}
    parts = {name: [sys.executable, "-c", PART, name, other] for name, other in waits.items()}
    monkeypatch.setattr(suite, "PARTS", parts)
    monkeypatch.setattr(suite, "has_engine", lambda: True)
    return Report(tmp_path)


@contextmanager
def started_stack() -> Iterator[Future[Path]]:
    ready: Future[Path] = Future()
    ready.set_result(Path("stack"))
    yield ready


def test_fast_takes_what_is_left_beside_the_stack_and_its_failure_is_kept(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(suite, "starting_stack", started_stack)
    run_parts(["fast", "e2e", "integration"], report)
    assert report.codes == {"e2e": 0, "fast": 3, "integration": 0}
    shown = capfd.readouterr().out
    assert "e2e says: ['e2e began', 'fast began']" in shown
    assert "fast says: ['e2e began', 'fast began']" in shown
    assert shown.index("fast says") < shown.index("integration says")
    assert (tmp_path / "fast began").read_text() == "19"


def test_a_stack_that_does_not_start_fails_its_part_alone(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def broken_stack() -> Iterator[Future[Path]]:
        ready: Future[Path] = Future()
        ready.set_exception(AssertionError("no space"))
        yield ready

    monkeypatch.setattr(suite, "starting_stack", broken_stack)
    (tmp_path / "e2e began").touch()
    run_parts(["fast", "e2e", "integration"], report)
    assert report.codes == {"e2e": 1, "fast": 3, "integration": 0}
