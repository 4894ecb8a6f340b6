"""Deletes runs that nobody needs, once a day, beside MLflow's server, which alone holds the key of their files.

Usage: garbage.py DAYS DELETED_DAYS runs forever; `garbage.py DAYS DELETED_DAYS once` runs once and ends.

A run of the loop that was never registered, or whose version is gone, is marked as deleted after DAYS; a person can
restore it in MLflow. DELETED_DAYS later it goes for good, like each run that a person has deleted: with its files and
the models that it logged, as `mlflow gc` does it. A run that a version comes from stays, whoever deleted it. The first
run of this program only shows, and each one reckons with a time at most two days after that of the one before.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

FIRST_SECONDS = 1_200
"""The start of a stack needs the processor for itself."""

DAY_SECONDS = 86_400

LONGEST_STEP = timedelta(days=2)

OF_THE_LOOP = "model"
"""Tag of a run that the loop has made: its registered model. Other runs are people's, and stay."""

CLOCK = "housekeeping.clock"
"""Tag of MLflow's first experiment: the time of the run before."""

FIRST_EXPERIMENT = "0"

PLACE = re.compile(r"mlflow-artifacts:/(\d+/(?:models/)?[A-Za-z0-9-]+/artifacts)/?")
"""Where the server stores the files of a run or a model; nothing is deleted elsewhere."""

NAMED = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")
"""The id of a run or a model in the source of a version."""

BUCKET = "s3://mlflow"

DELETION_LOCK = 7_305_013
"""Key of the advisory lock that a backup shares; `ml_code.warehouse` has the same one."""


@dataclass(frozen=True, slots=True)
class Doomed:
    """Runs to mark as deleted, and runs to delete for good."""

    unused: list[str]
    deleted: list[str]


def main() -> None:
    """Waits forever, and starts a process for each run: MLflow's libraries take 200 MB."""
    if sys.argv[3:] == ["once"]:
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        clean(SqlAlchemyStore(os.environ["MLFLOW_BACKEND_STORE_URI"], "mlflow-artifacts:/"), datetime.now(UTC))
        return
    server = os.getppid()
    pause = FIRST_SECONDS
    while wait(pause, server):
        pause = DAY_SECONDS
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "once"], check=False)  # noqa: S603  our own arguments


def wait(seconds: int, server: int) -> bool:
    """Waits as long as the server runs; returns False when it has ended."""
    for _ in range(seconds):
        time.sleep(1)
        if os.getppid() != server:
            return False
    return True


def clean(store: Any, now: datetime) -> None:
    """Shows what nobody needs, and deletes it unless this is the first run, or a backup is under way."""
    with hold_deletions(store) as is_ours:
        if is_ours:
            clean_alone(store, now)
        else:
            say("a backup is under way: nothing is deleted, the next run does it")


@contextmanager
def hold_deletions(store: Any) -> Iterator[bool]:
    """Keeps backups away, whose lock in this database is the same; whether none is under way."""
    with store.engine.connect() as connection:
        yield bool(connection.exec_driver_sql(f"SELECT pg_try_advisory_xact_lock({DELETION_LOCK})").scalar())


def clean_alone(store: Any, now: datetime) -> None:
    """Shows what nobody needs, and deletes it unless this is the first run."""
    days, deleted_days = map(float, sys.argv[1:3])
    clock, is_first = step_clock(store, now)
    doomed = find_doomed(store, clock - timedelta(days=days), clock - timedelta(days=deleted_days))
    say(f"{len(doomed.unused)} runs were never registered and are too old, {len(doomed.deleted)} deleted ones too")
    if is_first:
        say("a first run shows and deletes nothing")
        return
    for run_id in doomed.deleted:
        delete_for_good(store, run_id)
    for run_id in doomed.unused:
        store.delete_run(run_id)
    say("deleted")


def step_clock(store: Any, now: datetime) -> tuple[datetime, bool]:
    """The time that this run reckons with, and whether no run was before it."""
    from mlflow.entities import ExperimentTag

    before = store.get_experiment(FIRST_EXPERIMENT).tags.get(CLOCK)
    clock = now if before is None else min(now, datetime.fromisoformat(before) + LONGEST_STEP)
    store.set_experiment_tag(FIRST_EXPERIMENT, ExperimentTag(CLOCK, clock.isoformat()))
    return clock, before is None


def find_doomed(store: Any, oldest: datetime, oldest_deleted: datetime) -> Doomed:
    """Runs that began before a time and that no version names, and those that were deleted before another."""
    from mlflow.store.tracking.dbmodels.models import SqlRun, SqlTag

    with store.ManagedSessionMaker() as session:
        needed = find_needed(session)
        of_loop = session.query(SqlTag.run_uuid).filter(SqlTag.key == OF_THE_LOOP)
        began = SqlRun.start_time < to_milliseconds(oldest)
        unused = session.query(SqlRun.run_uuid).filter(
            SqlRun.lifecycle_stage == "active", began, SqlRun.run_uuid.in_(of_loop)
        )
        gone = SqlRun.deleted_time < to_milliseconds(oldest_deleted)
        deleted = session.query(SqlRun.run_uuid).filter(SqlRun.lifecycle_stage == "deleted", gone)
        return Doomed(*([run_id for (run_id,) in found if run_id not in needed] for found in (unused, deleted)))


def find_needed(session: Any) -> set[str]:
    """The runs that versions come from, and the models that they are, with the runs above them."""
    from mlflow.store.model_registry.dbmodels.models import SqlModelVersion
    from mlflow.store.tracking.dbmodels.models import SqlLoggedModel, SqlTag

    rows = session.query(SqlModelVersion.run_id, SqlModelVersion.source, SqlModelVersion.storage_location).filter(
        SqlModelVersion.current_stage != "Deleted_Internal"
    )
    named = {name for row in rows for text in row if text for name in NAMED.findall(text)}
    models = session.query(SqlLoggedModel.model_id, SqlLoggedModel.source_run_id)
    named |= {run_id for model_id, run_id in models if run_id and model_id.removeprefix("m-") in named}
    parents = session.query(SqlTag.run_uuid, SqlTag.value).filter(SqlTag.key == "mlflow.parentRunId")
    return named | {parent for run_id, parent in parents if run_id in named}


def delete_for_good(store: Any, run_id: str) -> None:
    """Deletes a run's files and the models that it logged, then the run: what is interrupted is found again."""
    from mlflow.store.tracking.dbmodels.models import SqlLoggedModel, SqlRun

    with store.ManagedSessionMaker() as session:
        places = [place for (place,) in session.query(SqlRun.artifact_uri).filter(SqlRun.run_uuid == run_id)]
        models = session.query(SqlLoggedModel.model_id, SqlLoggedModel.artifact_location)
        logged = models.filter(SqlLoggedModel.source_run_id == run_id).all()
    if not delete_files([*places, *(place for _, place in logged)]):
        say(f"run {run_id}: its files lie where this server stores none; it stays")
        return
    for model_id, _ in logged:
        store._hard_delete_logged_model(model_id)
    store._hard_delete_run(run_id)


def delete_files(places: Iterable[str]) -> bool:
    """Deletes the files of these places; returns False, without deleting, if one is not the server's own."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    found = [PLACE.fullmatch(place) for place in places]
    if not all(found):
        return False
    for place in found:
        if place:
            get_artifact_repository(f"{BUCKET}/{place[1]}").delete_artifacts()
    return True


def to_milliseconds(moment: datetime) -> int:
    """A time as MLflow stores it."""
    return int(moment.timestamp() * 1000)


def say(message: str) -> None:
    """Prints without a buffer, so that messages and the server's own stay in order."""
    print(f"housekeeping: {message}", flush=True)


if __name__ == "__main__":
    main()
