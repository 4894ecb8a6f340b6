"""Whether a canary is being analysed: another number of stable replicas would change what it is compared with."""

from __future__ import annotations

from ml_code.warehouse import Warehouse

ANALYSED = ("canary", "analysing")
"""States of a rollout. A/B tests and shadows last for days and compare what people do, so they hold nothing."""


def find_analysis(warehouse: Warehouse) -> str:
    """The model whose canary is being analysed, or an empty text. A rollout whose program has died is none.

    Raises:
        WarehouseError: the database cannot be reached.
    """
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT min(model) FROM warehouse.rollout "
            "WHERE ended_at IS NULL AND state = ANY(%s) AND lease_until > clock_timestamp()",
            (list(ANALYSED),),
        )
        found = cursor.fetchone()
    return str(found[0]) if found and found[0] else ""
