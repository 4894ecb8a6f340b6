"""Collects the prediction log in forks, which may be killed behind a step.

A program of its own: a process of tests has threads, and a fork of one may never get what they held.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ml_code.monitoring.prediction_log import collection
from ml_code.settings import REPOSITORY, Settings
from ml_code.workspace import open_workspace

NO_THREADS = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""OpenBLAS and Arrow start threads when they are imported."""


@dataclass(frozen=True, slots=True)
class Collectors:
    """The program's process, as a test has it."""

    process: subprocess.Popen[str]

    def collect(self, settings: Mapping[str, Any], *, killed_behind: str = "", count: int = 1) -> list[int]:
        """Collects in so many processes at once; returns the exit code of each, or minus the signal that ended it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(
            json.dumps({"settings": dict(settings), "killed_behind": killed_behind, "count": count}),
            file=self.process.stdin,
            flush=True,
        )
        line = self.process.stdout.readline()
        assert line, f"the process that forks ended with {self.process.wait()}, expected the ends of its forks"
        ends: list[int] = json.loads(line)
        return ends


@contextmanager
def run_collectors() -> Iterator[Collectors]:
    """Runs the program."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.ml_code.collecting"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, **NO_THREADS},
    )
    with process:
        try:
            yield Collectors(process)
        finally:
            process.kill()


def fork(settings: Settings, killed_behind: str) -> int:
    """Collects in a process of its own, and returns its id."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        if killed_behind:
            _die_behind(killed_behind)
        collection.collect(open_workspace(settings))
        code = 0
    except BaseException:  # the edge of the process
        traceback.print_exc()
    finally:
        os._exit(code)


def _die_behind(step: str) -> None:
    real = getattr(collection, step)

    def do_and_die(*arguments: object) -> None:
        real(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(collection, step, do_and_die)


def main() -> None:
    """Runs each request of stdin, until that is closed."""
    for line in sys.stdin:
        asked = json.loads(line)
        settings = Settings(**asked["settings"])
        children = [fork(settings, asked["killed_behind"]) for _ in range(asked["count"])]
        print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]), flush=True)


if __name__ == "__main__":
    main()
