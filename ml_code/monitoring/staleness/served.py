"""The last versions of a model that served: the champion, and those before it by the log of promotions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ml_code.errors import TrackingError
from ml_code.workspace import Workspace

COMPARED = 5
"""Versions that are scored; each costs a download of its file."""

# A move names both sides. The version that a move brought is newer than the one that it ended.
SELECT = """
    SELECT version FROM (
      SELECT to_version, 2 * move_id + 1 FROM warehouse.promotion_log
      WHERE model = %s AND action IN ('promote', 'rollback')
      UNION ALL
      SELECT from_version, 2 * move_id FROM warehouse.promotion_log
      WHERE model = %s AND action IN ('promote', 'rollback')
    ) AS move (version, place)
    WHERE version IS NOT NULL AND version <> %s GROUP BY version ORDER BY max(place) DESC LIMIT %s"""


@dataclass(frozen=True, slots=True)
class Served:
    """A version that served, and when it was registered; None where MLflow does not tell."""

    version: str
    created_at: datetime | None


def list_served(workspace: Workspace, model: str, champion: str) -> list[Served]:
    """The champion first, then those before it, the last one first.

    Raises:
        WarehouseError: the warehouse cannot be reached.
    """
    with workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(SELECT, (model, model, champion, COMPARED - 1))
        versions = [champion, *(version for (version,) in cursor.fetchall())]
    return [Served(version, _read_creation(workspace, model, version)) for version in versions]


def _read_creation(workspace: Workspace, model: str, version: str) -> datetime | None:
    try:
        return workspace.tracker.read_version(model, version).created_at
    except TrackingError:  # a person may delete an old version; its file says so too
        return None
