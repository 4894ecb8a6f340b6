"""The log of promotions: who promoted which version of a model, when and why, and which models are frozen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from ml_code.warehouse import Warehouse

type Action = Literal["promote", "rollback", "freeze", "unfreeze"]

COLUMNS = "moved_at, model, action, from_version, to_version, who, why, rollout_id"


@dataclass(frozen=True, slots=True)
class Move:
    """One row: the champion went from one version to another, or a model was frozen or unfrozen (no versions).

    `who` is a person, or a program that no person started; `rollout_id` is that of the rollout that moved the alias.
    """

    moved_at: datetime
    model: str
    action: Action
    from_version: str | None
    to_version: str | None
    who: str
    why: str
    rollout_id: int | None = None


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
        rollout_id: int | None = None,
    ) -> bool:
        """Adds a row, unless the rollout has one of this action; False where the rollout has ended."""

    def list_moves(self, model: str) -> list[Move]:
        """Every move of a model, the newest first."""

    def find_last_move(self, model: str) -> Move | None:
        """The last move of the champion, by a rollout or by hand."""

    def find_promotion(self, model: str, version: str) -> Move | None:
        """The last move by which a version took the place of another one."""

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
        rollout_id: int | None = None,
    ) -> bool:
        """Adds a row, unless the rollout has one of this action: a repeated step adds none, another person's does.

        Returns:
            False where the rollout has ended: then the move is not its own any more, and there is no row.

        Raises:
            WarehouseError: the database cannot be reached.
        """
        with self._warehouse.transaction() as connection, connection.cursor() as cursor:
            if rollout_id is not None:
                # The lock of the row lasts until the move is in the log: no other process ends the rollout meanwhile.
                cursor.execute(
                    "SELECT FROM warehouse.rollout WHERE rollout_id = %s AND ended_at IS NULL FOR SHARE", (rollout_id,)
                )
                if cursor.rowcount == 0:
                    return False
            cursor.execute(
                "INSERT INTO warehouse.promotion_log (model, action, from_version, to_version, who, why, rollout_id) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (rollout_id, action) DO NOTHING",
                (model, action, from_version, to_version, who, why, rollout_id),
            )
        return True

    def list_moves(self, model: str) -> list[Move]:
        """Every move of a model, the newest first.

        Raises:
            WarehouseError: the database cannot be reached.
        """
        return self._select("model = %s ORDER BY move_id DESC", model)

    def find_last_move(self, model: str) -> Move | None:
        """The last move of the champion, however many freezes followed.

        Raises:
            WarehouseError: the database cannot be reached.
        """
        return self._find("model = %s AND to_version IS NOT NULL", model)

    def find_promotion(self, model: str, version: str) -> Move | None:
        """The last move by which a version took the place of another one, however long ago.

        Raises:
            WarehouseError: the database cannot be reached.
        """
        condition = "action = 'promote' AND from_version IS DISTINCT FROM to_version"
        return self._find(f"model = %s AND to_version = %s AND {condition}", model, version)

    def find_freeze(self, model: str) -> Move | None:
        """By whom and why the model is frozen; None where it is not.

        Raises:
            WarehouseError: the database cannot be reached.
        """
        last = self._find("model = %s AND action IN ('freeze', 'unfreeze')", model)
        return last if last and last.action == "freeze" else None

    def _find(self, condition: str, *parameters: object) -> Move | None:
        """The newest row that meets a condition."""
        return next(iter(self._select(f"{condition} ORDER BY move_id DESC LIMIT 1", *parameters)), None)

    def _select(self, condition: str, *parameters: object) -> list[Move]:
        with self._warehouse.transaction() as connection, connection.cursor() as cursor:
            statement = f"SELECT {COLUMNS} FROM warehouse.promotion_log WHERE {condition}"  # noqa: S608  from this module
            cursor.execute(statement, parameters)
            return [Move(*row) for row in cursor.fetchall()]
