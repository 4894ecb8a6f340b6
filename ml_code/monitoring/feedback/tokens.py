"""Takes back, or restores, the labels that one token of the gateway brought."""

from __future__ import annotations

from typing import Literal

from ml_code.workspace import Workspace

type Action = Literal["drop", "restore"]


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
