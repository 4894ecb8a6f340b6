"""Two rollouts of one model that begin at the same moment, on a real Postgres: one is accepted, the other refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier, Event

import pytest

from ml_code.warehouse import Warehouse
from serving.errors import UnderWayError
from serving.rollout.control import RolloutControl
from serving.rollout.plan import open_rollout
from serving.rollout.promotion_log import WarehouseLog
from serving.rollout.rows import Rollout, WarehouseRollouts
from serving.rollout.steps import promote
from tests.servers import PostgresServer
from tests.unit.serving.rollout_fakes import Table, judge, set_table

OWNERS = ("dag/one", "dag/two")
SECONDS = 120.0
"""Far longer than any wait here takes on a busy machine."""


def connect(table: Table, warehouse: Warehouse, owner: str) -> RolloutControl:
    """A run that drives rollouts; it looks again at once where it would wait for seconds."""
    return replace(
        table.control(owner),
        rows=WarehouseRollouts(warehouse),
        log=WarehouseLog(warehouse),
        pause=lambda _: time.sleep(0.005),
        clock=time.monotonic,
    )


class Race:
    """Both runs open a rollout; who gets it goes on to its end once the other one has its answer."""

    def __init__(self) -> None:
        self.start, self.is_refused = Barrier(len(OWNERS)), Event()

    def run(self, control: RolloutControl) -> Rollout | UnderWayError:
        self.start.wait(SECONDS)
        try:
            row = open_rollout(control, "iris")
        except UnderWayError as refusal:
            self.is_refused.set()
            return refusal
        until = time.monotonic() + SECONDS
        while not self.is_refused.wait(0.01):  # signs of life, as each step of a rollout gives
            assert time.monotonic() < until, "the other one was not refused"
            control.read_own(row.rollout_id).renew()
        judge(control, row.rollout_id)
        promote(control, row.rollout_id)
        with control.hold(row.rollout_id) as held:
            held.finish("it answers")
        return control.rows.read(row.rollout_id)


def race(make: Callable[[str], RolloutControl]) -> tuple[Rollout, str]:
    """One race; returns the accepted rollout and what the other run was told."""
    one = Race()
    with ThreadPoolExecutor(len(OWNERS)) as pool:
        ends = list(pool.map(lambda owner: one.run(make(owner)), OWNERS))
    [accepted] = [end for end in ends if isinstance(end, Rollout)]
    [refused] = [str(end) for end in ends if isinstance(end, UnderWayError)]
    return accepted, refused


@pytest.mark.parametrize("repeats", [20, pytest.param(100, marks=pytest.mark.long)])
def test_of_two_rollouts_at_once_one_is_accepted_and_the_other_told_whose_it_is(
    postgres: PostgresServer, repeats: int
) -> None:
    warehouse = Warehouse(postgres.create_database(f"two_rollouts_{repeats}"))
    warehouse.migrate()
    table = set_table("1", champion="1")
    for number in range(2, repeats + 2):
        table.registry.add(str(number))
        accepted, refused = race(lambda owner: connect(table, warehouse, owner))
        assert (accepted.from_version, accepted.to_version) == (str(number - 1), str(number))
        assert accepted.state == "promoted"
        assert f"rollout {accepted.rollout_id} " in refused
        assert f"by {accepted.owner}, expected no other" in refused
        assert table.registry.aliases == {"champion": str(number), "previous": str(number - 1)}
    moves = WarehouseLog(warehouse).list_moves("iris")
    assert [move.to_version for move in moves] == [str(number) for number in range(repeats + 1, 0, -1)]
    assert WarehouseRollouts(warehouse).find_active("iris") is None
