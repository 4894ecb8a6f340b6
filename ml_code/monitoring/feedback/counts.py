"""The counts of labels in the warehouse, one row per batch and model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields

from ml_code.workspace import Workspace


@dataclass(slots=True)
class Counts:
    """Labels that were kept, how many of these repeat or correct an earlier one, and those without use, by reason."""

    labels: int = 0
    duplicate: int = 0
    corrected: int = 0
    unknown: int = 0
    mistyped: int = 0
    too_late: int = 0
    implausible: int = 0
    refused: int = 0

    def add(self, other: Counts) -> None:
        """Adds other counts."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))


INSERT = (
    "INSERT INTO warehouse.feedback_batch "
    "(batch, model, labels, duplicate, corrected, unknown, mistyped, too_late, implausible, refused) "
    "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
)

SELECT = (
    "SELECT coalesce(sum(labels), 0)::bigint, coalesce(sum(duplicate), 0)::bigint, "
    "coalesce(sum(corrected), 0)::bigint, coalesce(sum(unknown), 0)::bigint, coalesce(sum(mistyped), 0)::bigint, "
    "coalesce(sum(too_late), 0)::bigint, coalesce(sum(implausible), 0)::bigint, coalesce(sum(refused), 0)::bigint "
    "FROM warehouse.feedback_batch WHERE model = %s"
)


def record_counts(workspace: Workspace, batch: str, counts: Mapping[str, Counts]) -> None:
    """Records the counts of a batch by model; a batch that is repeated has them already.

    Raises:
        WarehouseError: the database cannot be reached.
    """
    with workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        for model, counted in sorted(counts.items()):
            cursor.execute(INSERT, (batch, model, *astuple(counted)))


def read_counts(workspace: Workspace, model: str) -> Counts:
    """All counts of a model up to now; those of the empty name belong to no known row.

    Raises:
        WarehouseError: the database cannot be reached.
    """
    with workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(SELECT, (model,))
        return Counts(*(cursor.fetchone() or ()))
