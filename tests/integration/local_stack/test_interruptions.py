"""`mlops demo` ended while it starts: nothing is left, and the next start works."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest

from mlops.local.interruption import INTERRUPTED
from mlops.local.supervisor import find_processes, with_death_signal
from mlops.loop import wait_for
from tests.integration.local_stack.demo_process import (
    MLOPS,
    ROOT,
    DemoProcess,
    find_listeners,
    make_environment,
    run_mlops,
)

needs_death_signal = pytest.mark.skipif(with_death_signal([]) == [], reason="needs Linux's setpriv")


@pytest.mark.parametrize(
    ("said", "how"),
    [
        ("Starting the stack", signal.SIGINT),
        ("database folder", signal.SIGTERM),
        ("buckets", signal.SIGINT),
        pytest.param("schemas", signal.SIGINT, marks=pytest.mark.long),
        pytest.param("airflow-scheduler", signal.SIGHUP, marks=pytest.mark.long),
    ],
)
def test_an_end_at_any_stage_leaves_no_process_and_no_port(state: Path, said: str, how: int) -> None:
    demo = DemoProcess(state)
    demo.wait_for(said)
    assert demo.end(how) == INTERRUPTED, demo.output
    assert "Traceback" not in demo.output
    assert find_processes(state) == []
    assert find_listeners(state) == set()


def test_a_terminal_that_is_closed_ends_it_too(state: Path) -> None:
    terminal, end_of_it = pty.openpty()
    with os.fdopen(terminal, "rb", buffering=0) as screen:
        demo = subprocess.Popen(
            ["setsid", "--ctty", "--wait", str(MLOPS), "demo", "--state", str(state)],
            stdin=end_of_it, stdout=end_of_it, stderr=end_of_it, env=make_environment(), cwd=ROOT,
        )  # fmt: skip
        os.close(end_of_it)
        said = b""
        while b"postgres" not in said:
            said += screen.read(1000)
        assert find_processes(state) != []
    demo.wait(timeout=300)
    assert find_processes(state) == []


@needs_death_signal
@pytest.mark.parametrize("said", [pytest.param("database folder", marks=pytest.mark.long), "buckets"])
def test_killing_the_demo_takes_all_of_it_along(state: Path, said: str) -> None:
    demo = DemoProcess(state)
    demo.wait_for(said)
    demo.end(signal.SIGKILL)
    wait_for(lambda: find_processes(state) == [], "every process to end", 300)


def test_a_second_command_meanwhile_is_told_to_wait(state: Path) -> None:
    demo = DemoProcess(state)
    demo.wait_for("database folder")
    done = run_mlops("demo", "--exit", "--state", str(state))
    assert done.returncode == 1
    assert "another `mlops local` or `mlops demo` is at work on it" in done.stderr
    assert demo.process.poll() is None
    demo.end(signal.SIGINT)
