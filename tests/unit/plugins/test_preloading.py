"""Which processes of Airflow import the libraries of tasks ahead, and what that starts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from plugins.airflow_local_settings import LIBRARIES, forks_tasks
from tests.repo.repository import ROOT


@pytest.mark.parametrize(
    ("command", "executor", "is_parent"),
    [
        ("airflow scheduler --skip-serve-logs", "LocalExecutor", True),
        ("airflow scheduler", "CeleryExecutor", False),
        ("airflow celery worker --queues default", "CeleryExecutor", False),
        ("airflow dag-processor", "LocalExecutor", False),
        ("airflow triggerer", "LocalExecutor", False),
        ("airflow db check", "LocalExecutor", False),
        ("airflow", "LocalExecutor", False),
    ],
)
def test_only_the_parent_of_tasks_imports_their_libraries(command: str, executor: str, *, is_parent: bool) -> None:
    assert forks_tasks(command.split(), executor) is is_parent


def test_a_scheduler_has_the_libraries_when_it_starts_and_neither_our_code_nor_a_thread(tmp_path: Path) -> None:
    program = """if True:
        import json, os, sys
        sys.argv = ["airflow", "scheduler"]
        import airflow.settings
        airflow.settings.initialize()
        threads = len(os.listdir("/proc/self/task"))
        print("\\n" + json.dumps({"modules": list(sys.modules), "threads": threads}))"""
    environment = {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "HOME": str(tmp_path),
    }
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found["modules"]) >= set(LIBRARIES)
    assert not [name for name in found["modules"] if name.partition(".")[0] in {"ml_code", "serving"}]
    assert found["threads"] == 1
