"""Runs pytest in forks of one process that has the libraries imported, which takes longer than most tests.

The product itself is imported in each fork: its files change from mutant to mutant.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NO_THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""OpenBLAS and Arrow start threads when they are imported, and a process with threads must not fork."""

IMPORTED = (
    "boto3",
    "httpx",
    "matplotlib.figure",
    "mlflow",
    "optuna",
    "pandera.pandas",
    "psycopg2",
    "pyarrow.dataset",
    "pydantic_settings",
    "pytest",
    "skl2onnx",
    "sklearn.ensemble",
    "typer",
)
"""Not onnxruntime, which starts a thread."""

OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore::pytest.PytestAssertRewriteWarning")
"""Some of the libraries bring plugins of pytest, which come too late to be rewritten."""


@dataclass(frozen=True, slots=True)
class Done:
    """How tests ended: the exit code of pytest, minus the number of a signal, or None where the time was over."""

    code: int | None
    output: str


@dataclass(frozen=True, slots=True)
class Runner:
    """The process that forks, whose folder is a copy of the tree."""

    process: subprocess.Popen[str]
    log: Path

    def run(self, tests: Sequence[str], seconds: float) -> Done:
        """Runs tests until one fails or the time is over."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {"arguments": [*OPTIONS, *tests], "seconds": seconds, "log": str(self.log)}
        print(json.dumps(request), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        assert line, f"the process that forks ended with {self.process.wait()}, expected how the tests ended"
        return Done(json.loads(line), self.log.read_text(errors="replace"))


@contextmanager
def run_runner(copy: Path) -> Iterator[Runner]:
    """Starts the process for a copy of the tree."""
    process = subprocess.Popen(
        [sys.executable, "-B", "-m", "tests.mutants.forks"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=copy,
        env={**os.environ, **NO_THREADS, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    with process:
        try:
            yield Runner(process, copy.with_name(f"{copy.name}.log"))
        finally:
            process.kill()


def wait_for(child: int, seconds: float) -> int | None:
    """The exit code of a fork, minus its signal; None where it had to be killed because the time was over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _test(arguments: list[str], log: str) -> None:
    """Runs pytest in this process, which ends with it."""
    code = 1
    try:
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(output, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        code = int(importlib.import_module("pytest").main(arguments))
        sys.stdout.flush()
    finally:
        os._exit(code)


def main() -> None:
    """Forks for each request on stdin, until that is closed."""
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            _test(asked["arguments"], asked["log"])
        print(json.dumps(wait_for(child, asked["seconds"])), flush=True)


if __name__ == "__main__":
    main()
