"""The runs of housekeeping in the warehouse: and which time one reckons with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ml_code.workspace import Workspace

LONGEST_STEP_DAYS = 2
"""Days by which the time of a run is after that of the run before: a clock that jumps ahead makes little too old."""

BEGIN = """
    INSERT INTO warehouse.housekeeping (owner, clock, is_dry)
    SELECT %(owner)s, LEAST(%(now)s, clock_timestamp(), max(clock) + make_interval(days => %(days)s)),
      %(is_dry)s OR count(*) = 0
    FROM warehouse.housekeeping
    ON CONFLICT (owner) DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class Run:
    """One run: the time that it reckons with, and whether it only shows what it would delete."""

    owner: str
    clock: datetime
    is_dry: bool


def begin(workspace: Workspace, owner: str, now: datetime, *, is_dry: bool) -> Run:
    """Adds a run, or finds it again. The first run of a stack is dry.

    Raises:
        WarehouseError: the warehouse cannot be reached.
    """
    with workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        values = {"owner": owner, "now": now, "days": LONGEST_STEP_DAYS, "is_dry": is_dry}
        cursor.execute(BEGIN, values)
        return _read(cursor, owner)


def read(workspace: Workspace, owner: str) -> Run:
    """A run that has begun.

    Raises:
        WarehouseError: the warehouse cannot be reached.
    """
    with workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        return _read(cursor, owner)


def note_plan(workspace: Workspace, owner: str, planned: Mapping[str, Mapping[str, int]]) -> None:
    """Stores how many things each rule would delete, and their bytes.

    Raises:
        WarehouseError: the warehouse cannot be reached.
    """
    with workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "UPDATE warehouse.housekeeping SET planned = %s::jsonb WHERE owner = %s", (json.dumps(planned), owner)
        )


@contextmanager
def hold_model(workspace: Workspace, model: str) -> Iterator[None]:
    """Keeps every rollout from moving aliases of a model: the lock is the one that a rollout takes.

    Raises:
        WarehouseError: the warehouse cannot be reached, or a rollout did not release the lock in time.
    """
    with workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '60s'")
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"rollout/{model}",))
        yield


def _read(cursor: Any, owner: str) -> Run:
    cursor.execute("SELECT owner, clock, is_dry FROM warehouse.housekeeping WHERE owner = %s", (owner,))
    return Run(*cursor.fetchone())
