"""The attempts of retraining in the warehouse: at most one of a model is under way."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from ml_code.errors import WarehouseError
from ml_code.warehouse import Warehouse

type Cause = Literal["drift", "decline"]
type Outcome = Literal["promoted", "held", "rejected", "failed"]

COLUMNS = (
    "retraining_id, model, owner, asked_at, cause, reason, since, until, labels, rows_file, outcome, version, verdict, "
    "ended_at"
)


@dataclass(frozen=True, slots=True)
class Call:
    """What calls for a retraining: the cause, in words too, and the windows from the first to the last."""

    model: str
    cause: Cause
    reason: str
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Attempt:
    """One row. `labels` are those of the calling windows that came after the attempt before."""

    retraining_id: int
    model: str
    owner: str
    asked_at: datetime
    cause: Cause
    reason: str
    since: datetime
    until: datetime
    labels: int
    rows_file: str | None
    outcome: Outcome | None
    version: str | None
    verdict: str | None
    ended_at: datetime | None

    @property
    def is_active(self) -> bool:
        """Whether it is under way, or its version waits for a person."""
        return self.ended_at is None

    def describe(self, rollout: str | None = None, *, is_public: bool = False) -> str:
        """What it did and why, for a person.

        Args:
            rollout: how the rollout of its version ended; None if it has not ended.
            is_public: whether anybody may read it: figures of a version only, because a reason may name cells of rows.
        """
        began = f"{self.asked_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        told = f"{began}, after {self.cause}, {self.labels} labels: {self._describe_outcome(rollout)}"
        verdict = self.verdict
        if verdict and is_public:
            verdict = verdict.partition("; ")[0] if self.version else "`mlops status` tells why"
        return f"{told}: {verdict}" if verdict else told

    def _describe_outcome(self, rollout: str | None) -> str:
        version = f"version {self.version}"
        if self.outcome is None:
            return "under way"
        if self.outcome == "held":
            return f"{version} waits for a person (`mlops deploy {self.model} {self.version}`)"
        if self.outcome == "promoted":
            ends = {None: "awaits its rollout", "promoted": "was rolled out", "aborted": "its rollout was aborted"}
            return f"{version} passed, and {ends.get(rollout, f'was {rollout}')}"
        if self.outcome == "rejected":
            return f"{version} was not approved" if self.version else "rejected"
        return "interrupted"

    @property
    def since_ms(self) -> float:
        """Start of the first calling window in milliseconds UTC."""
        return self.since.timestamp() * 1000


def read_last(warehouse: Warehouse, model: str) -> Attempt | None:
    """Reads the last attempt of a model.

    Raises:
        WarehouseError: the warehouse cannot be reached.
    """
    return _fetch(warehouse, "WHERE model = %s ORDER BY retraining_id DESC LIMIT 1", model)


def list_last(warehouse: Warehouse) -> list[Attempt]:
    """Lists the last attempt of each model, by model; none before the migration that makes the table.

    Raises:
        WarehouseError: the warehouse cannot be reached.
    """
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('warehouse.retraining')")
        if (cursor.fetchone() or (None,))[0] is None:
            return []
        cursor.execute(
            f"SELECT DISTINCT ON (model) {COLUMNS} FROM warehouse.retraining ORDER BY model, retraining_id DESC"  # noqa: S608  from this module
        )
        return [Attempt(*row) for row in cursor.fetchall()]


def find_attempt(warehouse: Warehouse, owner: str) -> Attempt | None:
    """Finds the attempt of a run, for a task that runs again.

    Raises:
        WarehouseError: the warehouse cannot be reached.
    """
    return _fetch(warehouse, "WHERE owner = %s", owner)


def list_active(warehouse: Warehouse) -> list[Attempt]:
    """Lists the attempts that are under way or wait for a person.

    Raises:
        WarehouseError: the warehouse cannot be reached.
    """
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT {COLUMNS} FROM warehouse.retraining WHERE ended_at IS NULL")  # noqa: S608  from this module
        return [Attempt(*row) for row in cursor.fetchall()]


def begin(warehouse: Warehouse, call: Call, owner: str, labels: int) -> Attempt | None:
    """Begins an attempt, or finds the one of this owner; None if another one of the model is under way.

    Raises:
        WarehouseError: the warehouse cannot be reached.
    """
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO warehouse.retraining (model, owner, cause, reason, since, until, labels) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (call.model, owner, call.cause, call.reason, call.since, call.until, labels),
        )
    return find_attempt(warehouse, owner)


def note_rows(warehouse: Warehouse, attempt: Attempt, rows_file: str) -> None:
    """Notes the file of live rows that an attempt trains on.

    Raises:
        WarehouseError: the attempt has ended, or the warehouse cannot be reached.
    """
    _update(warehouse, attempt, "rows_file = %s", rows_file)


def note_outcome(
    warehouse: Warehouse, attempt: Attempt, outcome: Outcome, *, version: str | None = None, verdict: str | None = None
) -> None:
    """Notes the outcome of an attempt, and ends it unless its version waits for a person.

    Raises:
        WarehouseError: the attempt has ended, or the warehouse cannot be reached.
    """
    _update(
        warehouse,
        attempt,
        "outcome = %s, version = COALESCE(%s, version), verdict = COALESCE(%s, verdict), "
        "ended_at = CASE WHEN %s = 'held' THEN NULL ELSE clock_timestamp() END",
        outcome,
        version,
        verdict,
        outcome,
    )


def _update(warehouse: Warehouse, attempt: Attempt, change: str, *values: object) -> None:
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE warehouse.retraining SET {change} WHERE retraining_id = %s AND ended_at IS NULL",  # noqa: S608  from this module
            (*values, attempt.retraining_id),
        )
        if cursor.rowcount == 0:
            raise WarehouseError(
                f"retraining {attempt.retraining_id} of {attempt.model}: found one that has ended, expected one under "
                "way; trigger a new run"
            )


def _fetch(warehouse: Warehouse, condition: str, value: object) -> Attempt | None:
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT {COLUMNS} FROM warehouse.retraining {condition}", (value,))  # noqa: S608  from this module
        found = cursor.fetchone()
    return Attempt(*found) if found else None
