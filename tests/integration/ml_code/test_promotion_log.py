"""The log of promotions in a real Postgres."""

from __future__ import annotations

import pytest

from ml_code.warehouse import Warehouse
from serving.rollout.promotion_log import WarehouseLog
from tests.servers import PostgresServer


@pytest.fixture(scope="module")
def log(postgres: PostgresServer) -> WarehouseLog:
    warehouse = Warehouse(postgres.create_database("promotion_log"))
    warehouse.migrate()
    return WarehouseLog(warehouse)


def test_moves_come_back_the_newest_first_for_their_model_alone(log: WarehouseLog) -> None:
    log.record("ships", "promote", "ada", "first", to_version="1")
    log.record("ships", "promote", "etl/run", "better", from_version="1", to_version="2")
    log.record("boats", "promote", "ada", "other", to_version="9")
    moves = log.list_moves("ships")
    assert [(move.from_version, move.to_version, move.who, move.why) for move in moves] == [
        ("1", "2", "etl/run", "better"),
        (None, "1", "ada", "first"),
    ]
    assert moves[0].moved_at > moves[1].moved_at
    assert len(log.list_moves("ships", limit=1)) == 1


def test_a_repeated_step_adds_no_row(log: WarehouseLog) -> None:
    for _ in range(2):
        log.record("iris", "promote", "etl/run", "better", from_version="1", to_version="2")
    assert len(log.list_moves("iris")) == 1
    # Somebody let the alias name another version by hand meanwhile.
    log.record("iris", "promote", "etl/run", "better", from_version="0", to_version="2")
    assert len(log.list_moves("iris")) == 2


def test_a_freeze_lasts_until_it_is_lifted_whatever_moves_meanwhile(log: WarehouseLog) -> None:
    assert log.find_freeze("housing") is None
    log.record("housing", "freeze", "ada", "the fair")
    log.record("housing", "promote", "ada", "by hand", to_version="4")
    freeze = log.find_freeze("housing")
    assert freeze is not None
    assert (freeze.who, freeze.why) == ("ada", "the fair")
    log.record("housing", "unfreeze", "ada", "it is over")
    assert log.find_freeze("housing") is None
