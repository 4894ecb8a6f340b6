"""A change of an alias that comes late, or whose lock was lost: who lost puts it right."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ml_code.errors import WarehouseError
from serving.errors import LateChangeError, RegistryError, RolloutLostError
from serving.registry.writer import CALL_SECONDS
from serving.rollout import fence
from serving.rollout.plan import open_rollout
from serving.rollout.rollback import promote_by_hand, roll_back
from serving.rollout.rows import HELD_SECONDS, LOCK_SECONDS
from serving.rollout.steps import promote, start_canary
from tests.unit.serving.rollout_fakes import Table, judge, promote_in_turn

pytestmark = pytest.mark.usefixtures("quick_validation")


@pytest.fixture
def table() -> Table:
    """Version 3 serves, 2 did before, and 4 has passed the gate."""
    table = promote_in_turn("1", "2", "3")
    table.registry.add("4")
    return table


def take_back(table: Table) -> None:
    assert roll_back(table.control("bob@lab"), "iris", "wrong").to_version == "3"


def hang(table: Table, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Makes MLflow answer the next change of an alias too late: other processes act before it takes place."""

    def wait(change: Callable[[], None]) -> bool:
        meanwhile()
        change()
        return True

    table.registry.late = wait


def hang_at_champion(table: Table, meanwhile: Callable[[], None] = lambda: None) -> None:
    move = table.registry.move

    def move_slowly(model: str, alias: str, version: str) -> None:
        if alias == "champion":
            table.registry.move = move  # type: ignore[method-assign]
            hang(table, meanwhile)
        move(model, alias, version)

    table.registry.move = move_slowly  # type: ignore[method-assign]


def test_a_promotion_that_comes_after_a_rollback_is_undone_by_its_own_process(table: Table) -> None:
    control = table.control()
    number = open_rollout(control, "iris").rollout_id
    judge(control, number)
    hang_at_champion(table, lambda: take_back(table))
    with pytest.raises(LateChangeError, match="found no answer"):
        promote(control, number)
    assert table.registry.aliases == {"champion": "3", "previous": "2"}
    assert [(move.action, move.to_version) for move in table.log.moves[3:]] == [("rollback", "3")]
    with pytest.raises(RolloutLostError, match="cancelled by the rollback of bob@lab"):
        promote(control, number)


def test_a_promotion_that_comes_late_while_nobody_acts_is_repeated_and_logged_once(table: Table) -> None:
    control = table.control()
    number = open_rollout(control, "iris").rollout_id
    judge(control, number)
    hang_at_champion(table)
    with pytest.raises(LateChangeError):
        promote(control, number)
    assert promote(control, number) == "the champion is version 4"
    assert table.registry.aliases == {"champion": "4", "previous": "3"}
    assert [move.to_version for move in table.log.moves[3:]] == ["4"]


def test_a_lock_that_is_lost_at_any_proof_leaves_the_version_of_the_rollback(table: Table) -> None:
    for proofs in range(100):
        table = promote_in_turn("1", "2", "3")
        table.registry.add("4")
        control = table.control()
        number = open_rollout(control, "iris").rollout_id
        judge(control, number)
        table.rows.proofs_left, table.rows.meanwhile = proofs, lambda table=table: roll_back_once(table)  # type: ignore[misc]
        try:
            promote(control, number)
            break
        except WarehouseError:
            last = table.log.find_last_move("iris")
            assert last is not None
            assert last.action == "rollback"
            assert table.registry.aliases["champion"] == last.to_version, proofs
            assert table.registry.aliases.get("previous") == ("1" if last.to_version == "2" else "2"), proofs
    assert proofs > 5


def roll_back_once(table: Table) -> None:
    roll_back(table.control("bob@lab"), "iris", "wrong")


def test_a_promotion_of_a_process_that_died_is_undone_within_the_rollbacks_guard(table: Table) -> None:
    control, pause = table.control(), table.stack.pause
    number = open_rollout(control, "iris").rollout_id
    table.rows.write(number, lease_seconds=60, state="promoting")

    def pause_until_it_comes(seconds: float) -> None:
        pause(seconds)
        if table.stack.clock() == 5:
            table.registry.aliases["champion"] = "4"

    table.stack.pause = pause_until_it_comes  # type: ignore[method-assign]
    take_back(table)
    assert table.stack.clock() >= 20
    assert table.registry.aliases["champion"] == "3"


def test_the_way_back_of_a_rollback_that_died_does_not_come_late(table: Table) -> None:
    """It would name the version that a person has promoted meanwhile, and nobody could go back."""
    with table.control("ada@lab").lock("iris") as locked:
        locked.open("iris", "rollback", from_version="3", to_version="2", state="promoting")
    pause = table.stack.pause

    def pause_until_it_comes(seconds: float) -> None:
        pause(seconds)
        if table.stack.clock() == 5:
            table.registry.aliases["previous"] = "1"

    table.stack.pause = pause_until_it_comes  # type: ignore[method-assign]
    promote_by_hand(table.control("bob@lab"), "iris", "1", "better")
    assert table.registry.aliases == {"champion": "1", "previous": "2"}


def test_a_rollback_that_is_done_ends_well_though_mlflow_goes_away_afterwards(table: Table) -> None:
    control, pause = table.control(), table.stack.pause
    number = open_rollout(control, "iris").rollout_id
    table.rows.write(number, lease_seconds=60, state="promoting")

    def lose_mlflow(seconds: float) -> None:
        pause(seconds)
        table.registry.read = fail  # type: ignore[method-assign]

    def fail(model: str) -> dict[str, str]:
        raise RegistryError("MLflow: found no answer, expected one")

    table.stack.pause = lose_mlflow  # type: ignore[method-assign]
    take_back(table)
    assert table.registry.aliases["champion"] == "3"


def test_a_rollback_of_what_serves_for_long_does_not_wait(table: Table) -> None:
    roll_back(table.control("bob@lab"), "iris", "wrong")
    assert table.stack.clock() == 0


def test_an_alias_that_another_program_moves_at_once_is_moved_again_and_then_given_up(table: Table) -> None:
    move, moves = table.registry.move, list[str]()

    def move_and_lose(model: str, alias: str, version: str) -> None:
        moves.append(version)
        move(model, alias, "1" if len(moves) == 2 else version)

    table.registry.move = move_and_lose  # type: ignore[method-assign]
    promote_by_hand(table.control("ada@lab"), "iris", "4", "better")
    assert table.registry.aliases["champion"] == "4"
    assert moves == ["3", "4", "4"]
    table.registry.move = lambda model, alias, version: move(model, alias, "1")  # type: ignore[method-assign]
    with pytest.raises(RegistryError, match="another program moves it"):
        promote_by_hand(table.control("ada@lab"), "iris", "4", "better")


def test_a_challenger_that_comes_late_does_not_replace_the_one_under_way(table: Table) -> None:
    control = table.control()
    number = open_rollout(control, "iris").rollout_id

    def go_on() -> None:
        table.registry.add("5")
        newer = table.control("dag/newer")
        start_canary(newer, open_rollout(newer, "iris").rollout_id)

    hang(table, go_on)
    with pytest.raises(LateChangeError):
        start_canary(control, number)
    assert table.registry.aliases["challenger"] == "5"


def test_no_change_begins_when_others_have_stopped_waiting(table: Table) -> None:
    control = table.control()
    number = open_rollout(control, "iris").rollout_id
    with control.hold(number) as held:
        table.stack.pause(fence.HOLD_SECONDS + 1)
        with pytest.raises(RegistryError, match="held for more than 40 s"):
            held.move_aliases("too late")
    assert table.registry.aliases["champion"] == "3"


def test_a_call_is_shorter_than_the_patience_of_the_lock_and_that_shorter_than_of_who_waits() -> None:
    connect_seconds = 2 * 3.0
    assert CALL_SECONDS + connect_seconds < HELD_SECONDS
    assert fence.HOLD_SECONDS + CALL_SECONDS + connect_seconds < LOCK_SECONDS


def test_an_alias_is_changed_under_the_lock_alone(table: Table) -> None:
    """Every way that moves one, on a registry that asks for the lock."""
    move, delete = table.registry.move, table.registry.delete

    def under_lock(call: Callable[..., None]) -> Callable[..., None]:
        def check(*arguments: str) -> None:
            assert table.rows.is_locked
            call(*arguments)

        return check

    table.registry.move, table.registry.delete = under_lock(move), under_lock(delete)  # type: ignore[method-assign]
    control = table.control()
    number = open_rollout(control, "iris").rollout_id
    start_canary(control, number)
    judge(control, number)
    promote(control, number)
    take_back(table)
    promote_by_hand(table.control("ada@lab"), "iris", "2", "better")
    assert table.registry.aliases["champion"] == "2"
