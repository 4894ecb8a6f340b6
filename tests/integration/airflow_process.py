"""Runs functions in forks of one process that has Airflow and the libraries of training imported.

Importing them takes longer than most runs of a DAG.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

NO_THREADS = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""OpenBLAS and Arrow start threads when they are imported, and a process with threads must not fork."""

IMPORTED = (
    "airflow.dag_processing.dagbag",
    "airflow.providers.amazon.aws.hooks.s3",
    "airflow.providers.slack.hooks.slack_webhook",
    "airflow.sdk.execution_time.task_runner",
    "lightgbm",
    "mlflow",
    "pandera.pandas",
    "skl2onnx",
)

_processes: list[subprocess.Popen[str]] = []


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the function returned, and all that was logged."""

    result: Any
    log: str


def run_in_airflow(environment: dict[str, str], function: str, **arguments: object) -> Outcome:
    """Calls `module:function` in a fork that has this environment; what it returns must be JSON."""
    with tempfile.NamedTemporaryFile("r", suffix=".log") as log:
        request = {"environment": environment, "function": function, "arguments": arguments, "log": log.name}
        status = _send(environment, json.dumps(request))
        output = Path(log.name).read_text(errors="replace")
    assert status == 0, output[-6000:]
    return Outcome(json.loads(output.strip().splitlines()[-1]), output)


def migrate() -> None:
    """Makes Airflow's tables, as `airflow db migrate` does."""
    from airflow import settings  # noqa: PLC0415
    from airflow.utils import db  # noqa: PLC0415

    settings.initialize()
    db.upgradedb()


def _send(environment: dict[str, str], request: str) -> int:
    """Has the process run it and returns the exit status."""
    process = _processes[0] if _processes else _start(environment)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{request}\n")
    process.stdin.flush()
    status = process.stdout.readline()
    assert status, f"the process that forks ended with {process.wait()}, expected an exit status"
    return int(status)


def _start(environment: dict[str, str]) -> subprocess.Popen[str]:
    """The first environment only serves for the imports; every run has its own."""
    command = [sys.executable, "-m", "tests.integration.airflow_process"]
    process = subprocess.Popen(
        command, env={**environment, **NO_THREADS}, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    _processes.append(process)
    atexit.register(_end, process)
    return process


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait(timeout=60)


def main() -> None:
    """Forks for each request on stdin, until that is closed."""
    statuses = os.fdopen(os.dup(1), "w")
    # Airflow logs to stdout.
    os.dup2(2, 1)
    _import_airflow()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _run(json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=statuses, flush=True)


def _import_airflow() -> None:
    """Imports what runs of DAGs import, and builds the API that a task of `dag.test()` calls."""
    for name in IMPORTED:
        importlib.import_module(name)
    # The API makes the routes of all its versions when the first request comes, which takes 5 s.
    asyncio.run(_ask_for_anything())
    gc.freeze()
    assert threading.active_count() == 1, threading.enumerate()


async def _ask_for_anything() -> None:
    from airflow.sdk.execution_time.supervisor import in_process_api_server  # noqa: PLC0415

    transport = httpx.ASGITransport(app=in_process_api_server().app)
    async with httpx.AsyncClient(transport=transport, base_url="http://in-process") as client:
        await client.get("/nowhere")


def _run(request: dict[str, Any]) -> None:
    """Runs the request in this process, which ends with it."""
    log = os.open(request["log"], os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    status = 1
    try:
        os.environ.clear()
        os.environ.update(request["environment"])
        time.tzset()
        module, _, name = request["function"].partition(":")
        result = getattr(importlib.import_module(module), name)(**request["arguments"])
        print(f"\n{json.dumps(result)}")
        status = 0
    except BaseException:  # The edge of the process: the test shows the traceback.
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
