"""Labels that no longer count: those that a dropped token of the gateway brought, up to the moment of its drop."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import numpy as np
import pandas as pd

from ml_code.data.live_rows import LABELLED_AT, LABELLED_BY
from ml_code.workspace import Workspace


def read_dropped(workspace: Workspace, model: str) -> dict[str, datetime]:
    """The tokens whose labels of a model do not count, each with the moment until which that holds.

    Raises:
        WarehouseError: the warehouse cannot be reached.
    """
    with workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT token, action, moved_at FROM warehouse.label_token WHERE model = %s ORDER BY label_token_id",
            (model,),
        )
        newest = {token: (action, moved_at) for token, action, moved_at in cursor.fetchall()}
    return {token: moved_at for token, (action, moved_at) in newest.items() if action == "drop"}


def drop_labels(rows: pd.DataFrame, dropped: Mapping[str, datetime]) -> pd.DataFrame:
    """The live rows without those whose label does not count; rows of an older release do not name their token."""
    if LABELLED_BY not in rows.columns or not dropped:
        return rows
    is_dropped = np.zeros(len(rows), dtype=bool)
    for token, until in dropped.items():
        is_its = (rows[LABELLED_BY] == token).to_numpy(dtype=bool, na_value=False)
        is_dropped |= is_its & (rows[LABELLED_AT] <= until.timestamp() * 1000).to_numpy(dtype=bool)
    return rows[~is_dropped].reset_index(drop=True)
