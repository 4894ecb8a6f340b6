"""Runs one DAG as `dag.test()` does, in a process of its own, and answers the state of every task.

Importing Airflow takes longer than most runs, so one process has it imported and forks.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

_forkers: list[subprocess.Popen[str]] = []


def run_dag(environment: dict[str, str], dag_id: str, **conf: object) -> dict[str, Any]:
    """State of the run, state of each `task_id[map_index]`, and all that was logged."""
    with tempfile.NamedTemporaryFile("r", suffix=".log") as log:
        request = {"environment": environment, "dag_id": dag_id, "conf": conf, "log": log.name}
        status = _ask(environment, json.dumps(request))
        output = Path(log.name).read_text(errors="replace")
    assert status == 0, output[-6000:]
    result: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    # At DEBUG Airflow prints what it asks itself to mask.
    log_lines = [line for line in output.splitlines() if "MaskSecret" not in line]
    return {**result, "log": "\n".join(log_lines)}


def _ask(environment: dict[str, str], request: str) -> int:
    """Has the forker run it and answers the exit status."""
    forker = _forkers[0] if _forkers else _start_forker(environment)
    assert forker.stdin is not None
    assert forker.stdout is not None
    forker.stdin.write(f"{request}\n")
    forker.stdin.flush()
    status = forker.stdout.readline()
    assert status, f"the process that forks ended with {forker.wait()}, expected an exit status"
    return int(status)


def _start_forker(environment: dict[str, str]) -> subprocess.Popen[str]:
    """The first environment only serves for the imports; every run has its own."""
    command = [sys.executable, "-m", "tests.integration.dags.run_dag"]
    forker = subprocess.Popen(command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    _forkers.append(forker)
    atexit.register(_end, forker)
    return forker


def _end(forker: subprocess.Popen[str]) -> None:
    assert forker.stdin is not None
    forker.stdin.close()
    forker.wait(timeout=60)


def main() -> None:
    """Forks for each request on stdin, until that is closed."""
    _import_everything()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _run(json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _import_everything() -> None:
    # Airflow is for the forker alone: the tests import the function above. Of the libraries none, because theirs
    # (pyarrow's, at least) start threads, and a process with threads must not fork.
    pass


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
        print(json.dumps(_test_dag(request["dag_id"], request["conf"])))
        status = 0
    except BaseException:  # The edge of the process: whatever it was, the test shows it.
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _test_dag(dag_id: str, run_conf: dict[str, Any]) -> dict[str, Any]:
    from airflow import settings  # noqa: PLC0415
    from airflow.configuration import conf  # noqa: PLC0415
    from airflow.dag_processing.dagbag import DagBag  # noqa: PLC0415

    settings.initialize()
    run = DagBag(conf.get("core", "dags_folder")).dags[dag_id].test(run_conf=run_conf)
    states = {f"{task.task_id}[{task.map_index}]": str(task.state) for task in run.get_task_instances()}
    return {"state": str(run.state), "tasks": states}


if __name__ == "__main__":
    main()
