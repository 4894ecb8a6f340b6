"""The log of promotions in a real Postgres."""

from __future__ import annotations

import pytest

from ml_code.warehouse import Warehouse
from serving.rollout.promotion_log import WarehouseLog
from serving.rollout.rows import WarehouseRollouts
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


def test_a_repeated_step_of_a_rollout_adds_no_row_and_the_same_move_of_another_one_does(log: WarehouseLog) -> None:
    rows = WarehouseRollouts(log._warehouse)
    for who in ("ada", "bob"):
        opened = rows.open(
            "iris",
            kind="rollout",
            from_version="1",
            to_version="2",
            state="promoting",
            owner="a@lab",
            who=who,
            run_url=None,
            lease_seconds=60,
        )
        for _ in range(2):
            assert log.record(
                "iris", "promote", who, "better", from_version="1", to_version="2", rollout_id=opened.rollout_id
            )
        rows.write(opened.rollout_id, lease_seconds=60, is_over=True)
        assert not log.record("iris", "rollback", who, "too late", to_version="1", rollout_id=opened.rollout_id)
    moves = log.list_moves("iris")
    assert [move.who for move in moves] == ["bob", "ada"]
    assert moves[0].rollout_id == opened.rollout_id != moves[1].rollout_id


def test_five_hundred_moves_and_freezes_hide_nothing(log: WarehouseLog) -> None:
    log.record("tulips", "promote", "ada", "first", from_version="1", to_version="2")
    log.record("tulips", "freeze", "ada", "the fair")
    for number in range(500):
        log.record("tulips", "rollback", "bob", "back and forth", from_version=str(number), to_version=str(number + 1))
    with log._warehouse.transaction() as connection:
        connection.cursor().execute(
            "INSERT INTO warehouse.promotion_log (model, action, who, why) "
            "SELECT 'tulips', 'freeze', 'eve', 'again' FROM generate_series(1, 500)"
        )
    assert len(log.list_moves("tulips")) == 1002
    last, promotion, freeze = log.find_last_move("tulips"), log.find_promotion("tulips", "2"), log.find_freeze("tulips")
    assert last is not None
    assert last.to_version == "500"
    assert promotion is not None
    assert promotion.from_version == "1"
    assert freeze is not None
    assert freeze.who == "eve"


def test_a_freeze_lasts_until_it_is_lifted_whatever_moves_meanwhile(log: WarehouseLog) -> None:
    assert log.find_freeze("housing") is None
    log.record("housing", "freeze", "ada", "the fair")
    log.record("housing", "promote", "ada", "by hand", to_version="4")
    freeze = log.find_freeze("housing")
    assert freeze is not None
    assert (freeze.who, freeze.why) == ("ada", "the fair")
    log.record("housing", "unfreeze", "ada", "it is over")
    assert log.find_freeze("housing") is None
