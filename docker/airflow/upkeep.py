"""Deletes old rows of Airflow's database and old files of its logs, once a day, beside the scheduler.

Usage: upkeep.py DAYS GIGABYTES runs forever; `upkeep.py DAYS GIGABYTES once` runs once and ends.

A task holds no address of this database, so the service that has it deletes. The first run of a stack only shows, and a
run reckons with a time at most two days after that of the run before: a clock that jumps ahead deletes little.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from stat import S_ISREG

FIRST_SECONDS = 900
"""The start of a stack needs the processor for itself."""

DAY_SECONDS = 86_400

LONGEST_STEP = timedelta(days=2)

YOUNG = timedelta(days=1)
"""A file of a task that may still run stays, whatever room it takes."""

STATE = ".housekeeping"
"""The time of the run before, beside the logs."""

TABLES = ["dag_run", "log", "job", "asset_event", "import_error", "callback", "revoked_token", "session"]
"""Airflow's own order deletes what belongs to a run with it. `dag` would forget which DAGs are paused."""

GB = 1_000_000_000


@dataclass(frozen=True, slots=True)
class LogFile:
    """A file of the logs."""

    path: Path
    modified_at: datetime
    size_bytes: int


def main() -> None:
    """Waits forever, and starts a process for each run: Airflow's libraries take 250 MB."""
    if sys.argv[3:] == ["once"]:
        clean(Path(os.environ.get("AIRFLOW__LOGGING__BASE_LOG_FOLDER", "/opt/airflow/logs")))
        return
    scheduler = os.getppid()
    pause = FIRST_SECONDS
    while wait(pause, scheduler):
        pause = DAY_SECONDS
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "once"], check=False)  # noqa: S603  our own arguments


def wait(seconds: int, scheduler: int) -> bool:
    """Waits as long as the scheduler runs; returns False when it has ended."""
    for _ in range(seconds):
        time.sleep(1)
        if os.getppid() != scheduler:
            return False
    return True


def clean(logs: Path) -> None:
    """Shows what is too old, and deletes it unless this is the first run."""
    days, gigabytes = map(float, sys.argv[1:3])
    began, is_first = step_clock(logs / STATE, find_time())
    doomed = choose_files(list_files(logs), began - timedelta(days=days), gigabytes * GB, began - YOUNG)
    say(
        f"logs: {len(doomed)} files with {sum(file.size_bytes for file in doomed) / 1e6:.1f} MB are too old or too much"
    )
    if not is_first:
        delete_files(logs, doomed)
    clean_database(began - timedelta(days=days), is_dry=is_first)
    clean_results(began - timedelta(days=days), is_dry=is_first)
    say("a first run shows and deletes nothing" if is_first else "deleted")


def step_clock(state: Path, now: datetime) -> tuple[datetime, bool]:
    """The time that this run reckons with, and whether no run was before it."""
    try:
        before = datetime.fromisoformat(state.read_text())
    except (OSError, ValueError):
        began, is_first = now, True
    else:
        began, is_first = min(now, before + LONGEST_STEP), False
    partial = state.with_name(f"{state.name}.partial")
    partial.write_text(began.isoformat())
    partial.replace(state)
    return began, is_first


def list_files(folder: Path) -> Iterator[LogFile]:
    """The regular files below a folder; no link is followed."""
    for parent, _, names in os.walk(folder, followlinks=False):
        for name in names:
            path = Path(parent) / name
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue
            if S_ISREG(status.st_mode) and not name.startswith(STATE):
                yield LogFile(path, datetime.fromtimestamp(status.st_mtime, UTC), status.st_size)


def choose_files(files: Iterator[LogFile], oldest: datetime, most_bytes: float, young: datetime) -> list[LogFile]:
    """The files that are too old, then the oldest ones while all of them take too much room."""
    ordered = sorted(files, key=lambda file: (file.modified_at, file.path))
    size_bytes = sum(file.size_bytes for file in ordered)
    chosen: list[LogFile] = []
    for file in ordered:
        if file.modified_at >= young or (file.modified_at >= oldest and size_bytes <= most_bytes):
            break
        size_bytes -= file.size_bytes
        chosen.append(file)
    return chosen


def delete_files(folder: Path, files: list[LogFile]) -> None:
    """Deletes files, and the folders that are empty then."""
    for file in files:
        file.path.unlink(missing_ok=True)
    for parent in sorted({parent for file in files for parent in file.path.parents}, reverse=True):
        if parent.is_relative_to(folder) and parent != folder:
            try:
                parent.rmdir()
            except OSError:  # another file is in it
                continue


def find_time() -> datetime:
    """The earlier one of this machine's time and the database's."""
    from airflow.utils.session import create_session
    from sqlalchemy import text

    with create_session() as session:
        return min(datetime.now(UTC), session.scalar(text("SELECT clock_timestamp()")))


def clean_database(before: datetime, *, is_dry: bool) -> None:
    """Runs Airflow's own `db clean`, up to the oldest run that has not ended: one may wait for a person for long."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.db_cleanup import run_cleanup
    from airflow.utils.session import create_session
    from sqlalchemy import func, select

    with create_session() as session:
        unfinished = select(func.min(func.coalesce(DagRun.start_date, DagRun.queued_at, DagRun.run_after))).where(
            DagRun.state.in_(("queued", "running"))
        )
        before = min(before, session.scalar(unfinished) or before)
    say(f"database: rows from before {before:%Y-%m-%d %H:%M}")
    run_cleanup(
        clean_before_timestamp=before,
        table_names=TABLES,
        dry_run=is_dry,
        confirm=False,
        skip_archive=True,
        error_on_cleanup_failure=True,
    )


def clean_results(before: datetime, *, is_dry: bool) -> None:
    """Deletes how tasks ended, which Celery notes in a database of its own where a worker runs them."""
    import psycopg2

    address = os.environ.get("AIRFLOW__CELERY__RESULT_BACKEND")
    if not address:
        return
    condition = "FROM celery_taskmeta WHERE date_done < %s"  # its times have no zone: they are of UTC
    with psycopg2.connect(address.removeprefix("db+").replace("+psycopg2", "")) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT to_regclass('celery_taskmeta') IS NOT NULL")
        if cursor.fetchone() == (True,):
            cursor.execute(
                f"SELECT count(*) {condition}" if is_dry else f"DELETE {condition}", (before.replace(tzinfo=None),)
            )
            say(f"results of tasks: {cursor.fetchone()[0] if is_dry else cursor.rowcount} are too old")


def say(message: str) -> None:
    """Prints without a buffer, so that messages and Airflow's own stay in order."""
    print(f"housekeeping: {message}", flush=True)


if __name__ == "__main__":
    main()
