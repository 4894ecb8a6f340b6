"""The log of promotions: who promoted which version of a model, when and why, and which models are frozen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from ml_code.warehouse import Warehouse

type Action = Literal["promote", "rollback", "freeze", "unfreeze"]

COLUMNS = "moved_at, model, action, from_version, to_version, who, why"


@dataclass(frozen=True, slots=True)
class Move:
    """One row: the champion went from one version to another, or a model was frozen or unfrozen (no versions)."""

    moved_at: datetime
    model: str
    action: Action
    from_version: str | None
    to_version: str | None
    who: str
    why: str


class PromotionLog(Protocol):
    """The log as a rollout needs it."""

    def record(
        self,
        model: str,
        action: Action,
        who: str,
        why: str,
        *,
        from_version: str | None = None,
        to_version: str | None = None,
    ) -> None:
        """Adds a row, unless the last move of the model was the same."""

    def list_moves(self, model: str, limit: int = 50) -> list[Move]:
        """The last moves of a model, the newest first."""

    def find_freeze(self, model: str) -> Move | None:
        """By whom and why the model is frozen; None where it is not."""


class WarehouseLog:
    """The log in the warehouse's table `promotion_log`.

    >>> WarehouseLog(open_warehouse(settings)).record("iris", "freeze", "ada@lab", "the fair is on Monday")
    """

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def record(
        self,
        model: str,
        action: Action,
        who: str,
        why: str,
        *,
        from_version: str | None = None,
        to_version: str | None = None,
    ) -> None:
        """Adds a row, unless the last move of the model was the same: a repeated step adds none.

        Raises:
            WarehouseError: the database cannot be reached.
        """
        with self._warehouse.transaction() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"promotion_log/{model}",))
            cursor.execute(
                "SELECT from_version, to_version FROM warehouse.promotion_log "
                "WHERE model = %s AND to_version IS NOT NULL ORDER BY move_id DESC LIMIT 1",
                (model,),
            )
            if to_version is not None and cursor.fetchone() == (from_version, to_version):
                return
            cursor.execute(
                "INSERT INTO warehouse.promotion_log (model, action, from_version, to_version, who, why) "
                "VALUES (%s, %s, %s, %s, %s, %s)",
                (model, action, from_version, to_version, who, why),
            )

    def list_moves(self, model: str, limit: int = 50) -> list[Move]:
        """The last moves of a model, the newest first.

        Raises:
            WarehouseError: the database cannot be reached.
        """
        return self._select("model = %s ORDER BY move_id DESC LIMIT %s", model, limit)

    def find_freeze(self, model: str) -> Move | None:
        """By whom and why the model is frozen; None where it is not.

        Raises:
            WarehouseError: the database cannot be reached.
        """
        last = self._select("model = %s AND action IN ('freeze', 'unfreeze') ORDER BY move_id DESC LIMIT 1", model)
        return last[0] if last and last[0].action == "freeze" else None

    def _select(self, condition: str, *parameters: object) -> list[Move]:
        with self._warehouse.transaction() as connection, connection.cursor() as cursor:
            statement = f"SELECT {COLUMNS} FROM warehouse.promotion_log WHERE {condition}"  # noqa: S608  from this module
            cursor.execute(statement, parameters)
            return [Move(*row) for row in cursor.fetchall()]
