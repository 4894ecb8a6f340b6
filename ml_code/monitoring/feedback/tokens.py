"""Takes back, or restores, the labels that one token of the gateway brought."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from ml_code.workspace import Workspace

type Action = Literal["drop", "restore"]


def read_dropped(workspace: Workspace, model: str) -> dict[str, datetime]:
    """The tokens whose labels of a model do not count, each with the moment until which that holds.

    Raises:
        WarehouseError: the database cannot be reached.
    """
    with workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT token, action, moved_at FROM warehouse.label_token WHERE model = %s ORDER BY label_token_id",
            (model,),
        )
        newest = {token: (action, moved_at) for token, action, moved_at in cursor.fetchall()}
    return {token: moved_at for token, (action, moved_at) in newest.items() if action == "drop"}


def record_token(workspace: Workspace, model: str, token: str, action: Action, who: str) -> None:
    """Drops all labels of a token up to now, or restores what was dropped; no label is deleted.

    Raises:
        WarehouseError: the database cannot be reached.
    """
    with workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO warehouse.label_token (model, token, action, who) VALUES (%s, %s, %s, %s)",
            (model, token, action, who),
        )
