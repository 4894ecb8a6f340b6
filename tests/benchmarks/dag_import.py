"""Times what the DAG files add to importing `airflow.sdk`, each round in a process of its own."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
ROUNDS = 5

PROGRAM = """
import runpy, sys, time
import airflow.sdk
started = time.perf_counter()
for file in sys.argv[1:]:
    runpy.run_path(file)
print(time.perf_counter() - started)
"""


def main() -> None:
    files = sorted(str(path) for path in (REPOSITORY / "dags").rglob("*.py"))
    seconds = [time_imports(files) for _ in range(ROUNDS)]
    print(
        f"importing {len(files)} DAG files after airflow.sdk: median {statistics.median(seconds):.2f} s "
        f"(from {min(seconds):.2f} to {max(seconds):.2f})"
    )


def time_imports(files: list[str]) -> float:
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, *files]
    environment = {**os.environ, "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins")}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout.split()[-1])


if __name__ == "__main__":
    main()
