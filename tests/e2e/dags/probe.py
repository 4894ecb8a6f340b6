"""Collects all that a task can read in its container into one file of it; copied into a stack by a test."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pendulum
from airflow.sdk import dag, task

FOLDERS = ("/opt/airflow", "/tmp", "/run", "/etc", "/home", "/root", "/var/lib", "/var/tmp")
LARGEST_BYTES = 5_000_000


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1), catchup=False, default_args={"retries": 0})
def probe() -> None:
    @task
    def collect() -> int:
        files = [*Path("/proc").glob("[0-9]*/environ"), *Path("/proc").glob("[0-9]*/cmdline")]
        for folder in FOLDERS:
            files += [path for path in Path(folder).rglob("*") if not path.is_symlink()]
        with Path("/tmp/collected").open("wb") as collected:
            for file in files:
                with contextlib.suppress(OSError):
                    if file.is_file() and file.stat().st_size < LARGEST_BYTES and file.name != "collected":
                        collected.write(f"\n--- {file}\n".encode() + file.read_bytes())
        return len(files)

    collect()


probe()
