"""Programs that tests start and end, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 400
"""Longest wait for a server; MLflow takes 15 s on a quiet machine and minutes on a starved one."""


@contextmanager
def run_process(
    command: Sequence[str], log: Path, *, stop_signal: int = signal.SIGTERM, **options: object
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a command in a process group of its own and ends that group, whatever happens."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True, **options)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        _end_group(process, stop_signal)


def _end_group(process: subprocess.Popen[bytes], stop_signal: int) -> None:
    for step in (stop_signal, signal.SIGKILL):
        try:
            os.killpg(process.pid, step)
        except ProcessLookupError:
            break
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def wait_until_ready(is_ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not is_ready():
        ended = process.poll() is not None
        if ended or time.monotonic() > deadline:
            state = f"ended with {process.returncode}" if ended else f"was not ready after {START_SECONDS} s"
            raise RuntimeError(f"{process.args!r} {state}:\n{log.read_text(errors='replace')[-4000:]}")
        time.sleep(0.1)
