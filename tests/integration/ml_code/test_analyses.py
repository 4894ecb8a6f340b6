"""Which rollouts hold the number of replicas, in a real Postgres."""

from __future__ import annotations

import pytest

from ml_code.warehouse import Warehouse
from mlops.scaling.analyses import find_analysis
from serving.rollout.rows import State, WarehouseRollouts
from tests.servers import PostgresServer


@pytest.fixture(scope="module")
def warehouse(postgres: PostgresServer) -> Warehouse:
    warehouse = Warehouse(postgres.create_database("analyses"))
    warehouse.migrate()
    return warehouse


def begin(rows: WarehouseRollouts, state: State, lease_seconds: float = 600) -> int:
    rollout = rows.open(
        "ships",
        kind="rollout",
        from_version="1",
        to_version="2",
        state=state,
        owner="test",
        who="ada",
        run_url=None,
        lease_seconds=lease_seconds,
    )
    return rollout.rollout_id


@pytest.mark.parametrize(
    ("state", "lease_seconds", "found"),
    [
        ("analysing", 600, "ships"),
        ("canary", 600, "ships"),
        ("comparing", 600, ""),
        ("awaiting approval", 600, ""),
        # Its program has died.
        ("analysing", -1, ""),
    ],
)
def test_a_canary_that_is_analysed_holds_the_number_until_it_ends(
    warehouse: Warehouse, state: State, lease_seconds: float, found: str
) -> None:
    rows = WarehouseRollouts(warehouse)
    rollout_id = begin(rows, state, lease_seconds)
    assert find_analysis(warehouse) == found
    rows.write(rollout_id, lease_seconds=600, is_over=True)
    assert find_analysis(warehouse) == ""
