"""The rows of rollouts: at most one of a model is active, and its owner holds a lease on it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from ml_code.verdicts import list_barred
from ml_code.warehouse import Warehouse
from serving.registry.names import CHALLENGER, SHADOW

type Kind = Literal["rollout", "ab", "shadow", "rollback"]
type State = Literal[
    "validating",
    "canary",
    "analysing",
    "comparing",
    "awaiting approval",
    "promoting",
    "verifying",
    "promoted",
    "aborted",
    "inconclusive",
    "rolled back",
    "compared",
]

TESTS: frozenset[Kind] = frozenset({"ab", "shadow"})
"""Kinds that compare two versions for days and move no alias of a version that serves."""

MOVING: frozenset[State] = frozenset({"promoting", "verifying"})
"""States in which the aliases may name the new version already."""

OPEN: frozenset[State] = frozenset({"canary", "analysing", "comparing"})
"""States in which the canary pool answers with the version, or has it predict as a shadow."""

LOCK_SECONDS = 60
"""Longest wait for another process that moves aliases of the same model: longer than one may take."""

HELD_SECONDS = 30
"""A process that holds the lock and is idle for this long has hung: Postgres takes the lock from it.

It proves the lock before each call of MLflow, which takes less.
"""

COLUMNS = (
    "rollout_id, model, kind, from_version, to_version, state, owner, who, run_url, reason, figures, started_at, "
    "updated_at, ended_at, lease_until, lease_until < clock_timestamp()"
)

INSERT = f"""
    INSERT INTO warehouse.rollout (model, kind, from_version, to_version, state, owner, who, run_url, lease_until)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, clock_timestamp() + make_interval(secs => %s))
    RETURNING {COLUMNS}
"""  # noqa: S608  from this module
UPDATE = f"""
    UPDATE warehouse.rollout SET
      owner = COALESCE(%s, owner), who = COALESCE(%s, who), run_url = COALESCE(%s, run_url),
      state = COALESCE(%s, state), reason = COALESCE(%s, reason), figures = COALESCE(%s::jsonb, figures),
      lease_until = clock_timestamp() + make_interval(secs => %s), updated_at = clock_timestamp(),
      ended_at = CASE WHEN %s THEN clock_timestamp() END, is_verdict = %s
    WHERE rollout_id = %s AND ended_at IS NULL AND (%s IS NULL OR owner = %s)
    RETURNING {COLUMNS}
"""  # noqa: S608  from this module


@dataclass(frozen=True, slots=True)
class Rollout:
    """One row: from the version that served, if any, to the one that shall serve.

    `owner` is the program that drives it; `who` is the person for whom it does, or the program where there is none.
    """

    rollout_id: int
    model: str
    kind: Kind
    from_version: str | None
    to_version: str
    state: State
    owner: str
    who: str | None
    run_url: str | None
    reason: str
    figures: Mapping[str, Any]
    started_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    lease_until: datetime
    is_expired: bool = field(compare=False)

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f"{self.model}: {self.kind} {self.rollout_id} ({self.from_version or 'none'} -> {self.to_version})"

    @property
    def alias(self) -> str:
        """The alias by which the canary pool knows its version."""
        return SHADOW if self.kind == "shadow" else CHALLENGER


class RolloutRows(Protocol):
    """The table as a rollout needs it."""

    def lock(self, model: str) -> AbstractContextManager[Callable[[], None]]:
        """Keeps every other process from moving aliases of the model; not to be taken twice.

        Returns the proof that the lock is still held: a call that raises WarehouseError, or ends the hold with one, if
        it is not.
        """

    def find_active(self, model: str) -> Rollout | None:
        """The row of the model that has not ended."""

    def find_rollback(self, model: str, owner: str) -> Rollout | None:
        """The last rollback of the model that this owner has brought to its end."""

    def list_barred(self, model: str) -> frozenset[str]:
        """The versions that a rollout has failed or a rollback has replaced."""

    def read(self, rollout_id: int) -> Rollout:
        """A row by its number."""

    def open(
        self,
        model: str,
        *,
        kind: Kind,
        from_version: str | None,
        to_version: str,
        state: State,
        owner: str,
        who: str,
        run_url: str | None,
        lease_seconds: float,
    ) -> Rollout:
        """Adds the active row of a model that has none."""

    def write(
        self,
        rollout_id: int,
        *,
        lease_seconds: float,
        only_of: str | None = None,
        owner: str | None = None,
        who: str | None = None,
        run_url: str | None = None,
        state: State | None = None,
        reason: str | None = None,
        figures: Mapping[str, Any] | None = None,
        is_over: bool = False,
        is_verdict: bool = False,
    ) -> Rollout | None:
        """Changes an active row, or returns None without one; `only_of` restricts it to that owner's.

        The end of a rollout is a verdict on its version, or came from elsewhere.
        """


class WarehouseRollouts:
    """The rows in the warehouse's table `rollout`.

    >>> WarehouseRollouts(open_warehouse(settings)).find_active("iris")
    """

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    @contextmanager
    def lock(self, model: str) -> Iterator[Callable[[], None]]:
        """Holds the model's advisory lock, which ends with the connection: a process that dies leaves none behind.

        Raises:
            WarehouseError: the database cannot be reached, or another process did not release the lock in time.
        """
        with self._warehouse.transaction() as connection, connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
            cursor.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{HELD_SECONDS}s'")
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"rollout/{model}",))
            yield lambda: cursor.execute("SELECT 1")

    def find_active(self, model: str) -> Rollout | None:
        """The row of the model that has not ended.

        Raises:
            WarehouseError: the database cannot be reached.
        """
        return self._fetch(f"SELECT {COLUMNS} FROM warehouse.rollout WHERE model = %s AND ended_at IS NULL", model)  # noqa: S608  from this module

    def find_rollback(self, model: str, owner: str) -> Rollout | None:
        """The last rollback of the model that this owner has brought to its end.

        Raises:
            WarehouseError: the database cannot be reached.
        """
        return self._fetch(
            f"SELECT {COLUMNS} FROM warehouse.rollout WHERE model = %s AND owner = %s AND kind = 'rollback' "  # noqa: S608  from this module
            "AND ended_at IS NOT NULL ORDER BY rollout_id DESC LIMIT 1",
            model,
            owner,
        )

    def list_barred(self, model: str) -> frozenset[str]:
        """The versions that a rollout has failed or a rollback has replaced, however long ago.

        Raises:
            WarehouseError: the database cannot be reached.
        """
        return list_barred(self._warehouse, model)

    def read(self, rollout_id: int) -> Rollout:
        """A row by its number.

        Raises:
            WarehouseError: the database cannot be reached.
            LookupError: the row does not exist.
        """
        found = self._fetch(f"SELECT {COLUMNS} FROM warehouse.rollout WHERE rollout_id = %s", rollout_id)  # noqa: S608  from this module
        if found is None:
            raise LookupError(f"warehouse.rollout: found no row {rollout_id}, expected one; was a backup restored?")
        return found

    def open(
        self,
        model: str,
        *,
        kind: Kind,
        from_version: str | None,
        to_version: str,
        state: State,
        owner: str,
        who: str,
        run_url: str | None,
        lease_seconds: float,
    ) -> Rollout:
        """Adds the active row of a model that has none.

        Raises:
            WarehouseError: the database cannot be reached.
        """
        opened = self._fetch(INSERT, model, kind, from_version, to_version, state, owner, who, run_url, lease_seconds)
        assert opened is not None  # noqa: S101  RETURNING returns a row
        return opened

    def write(
        self,
        rollout_id: int,
        *,
        lease_seconds: float,
        only_of: str | None = None,
        owner: str | None = None,
        who: str | None = None,
        run_url: str | None = None,
        state: State | None = None,
        reason: str | None = None,
        figures: Mapping[str, Any] | None = None,
        is_over: bool = False,
        is_verdict: bool = False,
    ) -> Rollout | None:
        """Changes an active row and renews its lease; columns that are not given stay.

        Raises:
            WarehouseError: the database cannot be reached.
        """
        return self._fetch(
            UPDATE,
            owner,
            who,
            run_url,
            state,
            reason,
            None if figures is None else json.dumps(figures),
            lease_seconds,
            is_over,
            is_verdict,
            rollout_id,
            only_of,
            only_of,
        )

    def _fetch(self, statement: str, *parameters: object) -> Rollout | None:
        with self._warehouse.transaction() as connection, connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            row = cursor.fetchone()
        return None if row is None else Rollout(*row)
