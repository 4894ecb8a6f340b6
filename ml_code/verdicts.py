"""What the warehouse's log says of a model's versions: how their rollouts ended, and which were taken back.

The tags of the same meaning in MLflow are for people to read: whoever writes tags there may set or delete one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ml_code.warehouse import Warehouse

FAILED = frozenset({"aborted", "rolled back"})
"""Verdicts on a version that did worse than the one before it."""

BARRED = FAILED | {"compared"}
"""One of these is never picked automatically: it did worse, or an A/B test left the choice to a person."""

# A version that was once taken back stays so; otherwise its last verdict counts. Moves without a rollout are older than
# the table of rollouts.
VERDICTS = """
    SELECT DISTINCT ON (version) version, verdict FROM (
      SELECT to_version AS version, state AS verdict, false AS is_final, rollout_id FROM warehouse.rollout
      WHERE model = %(model)s AND is_verdict
      UNION ALL
      SELECT from_version, 'rolled back', true, rollout_id FROM warehouse.rollout
      WHERE model = %(model)s AND kind = 'rollback' AND state = 'rolled back'
      UNION ALL
      SELECT from_version, 'rolled back', true, 0 FROM warehouse.promotion_log
      WHERE model = %(model)s AND action = 'rollback' AND rollout_id IS NULL
    ) found
    WHERE version IS NOT NULL ORDER BY version, is_final DESC, rollout_id DESC
"""


def read_verdicts(warehouse: Warehouse, model: str) -> Mapping[str, str]:
    """The last verdict on each version of a model that has one: promoted, aborted, compared or rolled back.

    Raises:
        WarehouseError: the database cannot be reached.
    """
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(VERDICTS, {"model": model})
        return dict(cursor.fetchall())


def list_barred(warehouse: Warehouse, model: str) -> frozenset[str]:
    """The versions of a model that are rolled out on request only.

    Raises:
        WarehouseError: the database cannot be reached.
    """
    return frozenset(version for version, verdict in read_verdicts(warehouse, model).items() if verdict in BARRED)
