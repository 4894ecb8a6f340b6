"""Rollbacks, and promotions by hand."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta

import pytest

from serving.errors import NoCandidateError, RolledBackError
from serving.rollout.plan import open_rollout
from serving.rollout.rollback import promote_by_hand, roll_back
from serving.rollout.steps import promote
from tests.unit.serving.rollout.test_steps_killed import Killed, kill_after, revive
from tests.unit.serving.rollout_fakes import Table, judge, promote_in_turn, set_table


def take_back(table: Table, why: str = "wrong") -> tuple[str | None, str]:
    done = roll_back(table.control("ada@lab"), "iris", why)
    assert done.state == "rolled back"
    assert table.rows.find_active("iris") is None
    return done.from_version, done.to_version


def test_a_rollback_goes_back_one_version_at_a_time() -> None:
    table = promote_in_turn("1", "2", "3")
    assert take_back(table) == ("3", "2")
    assert table.registry.aliases == {"champion": "2", "previous": "1"}
    assert take_back(table, "wrong too") == ("2", "1")
    assert table.registry.aliases == {"champion": "1"}
    assert table.registry.tags["3"]["rolled_back"] == "wrong"
    assert table.registry.tags["2"]["rolled_back"] == "wrong too"
    assert [move.action for move in table.log.moves] == ["promote"] * 3 + ["rollback"] * 2
    with pytest.raises(NoCandidateError, match="found no version before the champion"):
        take_back(table)


def test_a_rollback_that_is_killed_at_any_change_is_finished_by_the_next_one() -> None:
    for calls in range(100):
        table = promote_in_turn("1", "2", "3")
        kill_after(table, calls)
        try:
            take_back(table)
            break
        except Killed:
            revive(table)
        assert take_back(table) == ("3", "2")
        assert table.registry.aliases == {"champion": "2", "previous": "1"}
        assert "rolled_back" not in table.registry.tags["2"]
    assert calls > 5


def test_a_run_whose_task_is_tried_again_goes_back_once() -> None:
    table = promote_in_turn("1", "2", "3")
    first = replace(table.control("model_rollback/one"), run_url="http://airflow/one")
    done = roll_back(first, "iris", "wrong")
    assert roll_back(first, "iris", "wrong") == done
    assert table.registry.aliases == {"champion": "2", "previous": "1"}
    assert roll_back(replace(first, owner="model_rollback/two"), "iris", "wrong too").to_version == "1"


def test_an_interrupted_run_that_another_one_finished_goes_back_once() -> None:
    table = promote_in_turn("1", "2", "3")
    table.registry.add("4")
    run = replace(table.control("model_rollback/one"), run_url="http://airflow/one")
    kill_after(table, 4)
    with pytest.raises(Killed):
        roll_back(run, "iris", "wrong")
    revive(table)
    table.rows.now += timedelta(minutes=10)
    open_rollout(table.control(), "iris")
    assert roll_back(run, "iris", "wrong").state == "rolled back"
    assert table.registry.aliases == {"champion": "2", "previous": "1"}


def test_a_rollback_of_a_rollout_that_moved_the_aliases_may_be_killed_at_any_change_as_well() -> None:
    for calls in range(100):
        table = promote_in_turn("1", "2", "3")
        table.registry.add("4")
        control = table.control()
        number = open_rollout(control, "iris").rollout_id
        judge(control, number)
        promote(control, number)
        kill_after(table, calls)
        try:
            take_back(table)
            break
        except Killed:
            revive(table)
        assert take_back(table) == ("4", "3")
        assert table.registry.aliases == {"champion": "3", "previous": "2"}
    assert calls > 5


def test_an_interrupted_rollback_is_finished_before_a_rollout() -> None:
    table = promote_in_turn("1", "2", "3")
    table.registry.add("4")
    kill_after(table, 4)
    with pytest.raises(Killed):
        take_back(table)
    revive(table)
    table.rows.now += timedelta(minutes=10)
    opened = open_rollout(table.control(), "iris")
    assert (opened.from_version, opened.to_version) == ("2", "4")
    assert table.registry.tags["3"]["rolled_back"] == "wrong"


def test_of_two_rollbacks_at_once_the_slower_one_stands_aside() -> None:
    table = promote_in_turn("1", "2", "3")
    lock = table.rows.lock

    def wait_for_another(model: str) -> AbstractContextManager[None]:
        table.rows.lock = lock  # type: ignore[method-assign]
        take_back(table)
        return lock(model)

    table.rows.lock = wait_for_another  # type: ignore[method-assign]
    with pytest.raises(RolledBackError, match="rolled back to version 2 by ada@lab a moment ago"):
        roll_back(table.control("bob@lab"), "iris", "wrong, I say")
    assert table.registry.aliases == {"champion": "2", "previous": "1"}
    assert "rolled_back" not in table.registry.tags["2"]


def test_a_version_that_was_deleted_does_not_keep_a_rollback_from_its_end() -> None:
    table = promote_in_turn("1", "2", "3")
    table.registry.forget("1")
    assert take_back(table) == ("3", "2")
    assert table.registry.aliases == {"champion": "2"}


def test_a_rollout_whose_version_before_was_deleted_has_no_way_back_but_another_version() -> None:
    table = set_table("4", champion="3", previous="2")
    control = table.control()
    number = open_rollout(control, "iris").rollout_id
    judge(control, number)
    promote(control, number)
    table.registry.forget("3")
    with pytest.raises(NoCandidateError, match="found no version 3, which served before"):
        take_back(table)
    assert table.registry.aliases == {"champion": "4"}
    promote_by_hand(table.control("ada@lab"), "iris", "2", "the last good one")
    assert table.registry.aliases == {"champion": "2", "previous": "4"}
    assert table.rows.find_active("iris") is None


def test_a_long_reason_is_cut_where_mlflow_keeps_it() -> None:
    table = promote_in_turn("1", "2")
    take_back(table, "x" * 200_000)
    assert table.registry.tags["2"]["rolled_back"] == "x" * 1000
    assert table.log.moves[-1].why == "x" * 200_000


def test_a_person_may_let_any_version_serve_and_cancels_what_is_under_way() -> None:
    table = set_table("4", champion="3")
    table.registry.add("5", gate="rejected")
    under_way = open_rollout(table.control(), "iris")
    done = promote_by_hand(table.control("ada@lab"), "iris", "5", "I vouch for it")
    assert (done.state, done.from_version) == ("promoted", "3")
    assert table.registry.aliases == {"champion": "5", "previous": "3"}
    assert table.rows.read(under_way.rollout_id).state == "aborted"
    assert table.log.moves[-1].why == "I vouch for it"


@pytest.mark.parametrize("calls", [4, 6, 8])
def test_an_interrupted_rollback_is_finished_before_a_promotion_by_hand(calls: int) -> None:
    table = promote_in_turn("1", "2", "3")
    table.registry.add("4")
    kill_after(table, calls)
    with pytest.raises(Killed):
        take_back(table)
    revive(table)
    promote_by_hand(table.control("ada@lab"), "iris", "4", "it is fixed")
    assert table.registry.aliases == {"champion": "4", "previous": "2"}
    assert table.registry.tags["3"]["rolled_back"] == "wrong"


def test_promoting_what_serves_already_does_not_make_it_its_own_predecessor() -> None:
    table = set_table("4", champion="4", previous="3")
    moves = len(table.log.moves)
    promote_by_hand(table.control("ada@lab"), "iris", "4", "again")
    assert table.registry.aliases == {"champion": "4", "previous": "3"}
    assert [(move.from_version, move.to_version) for move in table.log.moves[moves:]] == [("4", "4")]
    promote_by_hand(table.control("bob@lab"), "iris", "4", "again")
    assert [move.who for move in table.log.moves[moves:]] == ["ada@lab", "bob@lab"]
    assert take_back(table) == ("4", "3")


def test_a_move_is_of_the_person_who_signed_in_and_of_their_program() -> None:
    table = promote_in_turn("1", "2", "3")
    roll_back(replace(table.control("model_rollback/one"), person="grace"), "iris", "wrong")
    assert table.log.moves[-1].who == "grace (model_rollback/one)"
    assert table.log.moves[-1].rollout_id == max(table.rows.rows)


def test_a_rollback_that_another_person_finishes_stays_the_one_of_who_began_it() -> None:
    table = promote_in_turn("1", "2", "3")
    kill_after(table, 5)
    with pytest.raises(Killed):
        roll_back(replace(table.control("ada@lab"), person="ada"), "iris", "wrong")
    revive(table)
    roll_back(replace(table.control("bob@lab"), person="bob"), "iris", "wrong as well")
    rollbacks = [(move.who, move.why) for move in table.log.moves if move.action == "rollback"]
    assert rollbacks == [("ada (ada@lab)", "wrong")]


def test_a_rollback_goes_back_behind_any_number_of_freezes_and_moves() -> None:
    table = promote_in_turn("1", "2")
    for _ in range(500):
        table.log.record("iris", "freeze", "eve", "again")
    for number in range(250):
        promote_by_hand(table.control("ada@lab"), "iris", "1" if number % 2 else "2", "back and forth")
    promote_by_hand(table.control("ada@lab"), "iris", "2", "at last")
    assert take_back(table) == ("2", "1")
    assert [move.who for move in table.log.moves if "by hand in MLflow" in move.who] == []


def test_a_version_that_is_not_registered_cannot_serve() -> None:
    with pytest.raises(NoCandidateError, match="found no version 9"):
        promote_by_hand(set_table("4", champion="3").control(), "iris", "9", "x")
