"""Which version is rolled out, and which rollout may run."""

from __future__ import annotations

from datetime import timedelta

import pytest

from serving.errors import FrozenModelError, NoCandidateError, NothingNewError, RolloutLostError, UnderWayError
from serving.rollout import steps
from serving.rollout.approval import approve
from serving.rollout.plan import Choice, choose_version, open_rollout
from serving.rollout.rollback import promote_by_hand
from serving.rollout.rows import State
from tests.unit.serving.rollout_fakes import Table, judge, promote_in_turn, set_table


def choose(table: Table, version: str | None = None) -> Choice:
    return choose_version(table.control(), "iris", version)


def test_the_newest_passed_version_is_rolled_out() -> None:
    assert choose(set_table("4", champion="3")) == Choice("3", "4")


def test_a_version_by_hand_wins_over_the_newest() -> None:
    assert choose(set_table("4", champion="3"), "2") == Choice("3", "2")


@pytest.mark.parametrize("champion", ["9", "10"])
def test_unasked_a_champion_that_is_newer_than_every_passed_version_stays(champion: str) -> None:
    with pytest.raises(NothingNewError, match=f"version {champion} serving already"):
        choose(set_table("9", champion=champion))


def end(table: Table, *, state: State = "aborted", **how: bool) -> None:
    """Begins a rollout of the newest version and ends it in a state."""
    row = open_rollout(table.control(), "iris")
    with table.control().hold(row.rollout_id) as held:
        held.abort("for a reason", state=state, **how)


@pytest.mark.parametrize("state", ["aborted", "compared"])
def test_a_version_with_a_bad_verdict_is_rolled_out_only_by_hand(state: State) -> None:
    table = set_table("4", champion="2")
    end(table, state=state)
    assert choose(table) == Choice("2", "3")
    assert choose(table, "4") == Choice("2", "4")


def test_who_deletes_the_tag_of_an_aborted_rollout_does_not_start_another_one() -> None:
    table = set_table("4", champion="2")
    end(table)
    del table.registry.tags["4"]["rollout"]
    assert choose(table) == Choice("2", "3")


@pytest.mark.parametrize("tags", [{"rolled_back": "wrong"}, {"rollout": "aborted"}, {"rollout": "compared"}])
def test_who_writes_the_tag_of_a_verdict_keeps_no_version_back(tags: dict[str, str]) -> None:
    table = set_table("4", champion="2")
    table.registry.tags["4"] |= tags
    assert choose(table) == Choice("2", "4")


def test_a_version_that_is_promoted_after_its_abort_has_no_bad_verdict_left() -> None:
    table = set_table("4", champion="2")
    end(table)
    promote_by_hand(table.control("ada@lab"), "iris", "4", "looked at it")
    table.registry.aliases["champion"] = "2"
    assert choose(table) == Choice("2", "4")


@pytest.mark.parametrize(("state", "how"), [("inconclusive", {}), ("aborted", {"is_verdict": False})])
def test_a_version_whose_rollout_could_not_tell_is_tried_again(state: State, how: dict[str, bool]) -> None:
    table = set_table("4", champion="3")
    end(table, state=state, **how)
    assert choose(table) == Choice("3", "4")


def test_without_a_passed_version_there_is_nothing_to_roll_out() -> None:
    with pytest.raises(NoCandidateError, match="iris: found no version with the tag gate=passed"):
        choose(set_table())


@pytest.mark.parametrize("version", ["9", "newest", "-1", "3.0"])
def test_a_version_that_is_not_registered_is_refused_before_any_alias_moves(version: str) -> None:
    with pytest.raises(NoCandidateError, match=f"iris: found no version {version} with the tag gate=passed"):
        choose(set_table("4", champion="3", previous="2"), version)


def test_a_version_that_waits_for_a_person_is_rolled_out_only_by_hand() -> None:
    table = set_table("3", champion="3")
    table.registry.add("4", gate="needs_approval")
    with pytest.raises(NothingNewError):
        choose(table)
    assert choose(table, "4") == Choice("3", "4")


def test_a_frozen_model_is_rolled_out_only_by_hand() -> None:
    table = set_table("4", champion="3")
    table.log.record("iris", "freeze", "ada", "the fair")
    with pytest.raises(FrozenModelError, match="expected no freeze; version 4 waits"):
        choose(table)
    with pytest.raises(FrozenModelError):
        open_rollout(table.control(), "iris", "")  # what a form says whose field was emptied
    assert choose(table, "4") == Choice("3", "4")
    table.log.record("iris", "unfreeze", "ada", "it is over")
    assert choose(table) == Choice("3", "4")


def test_a_champion_that_was_moved_by_hand_is_logged_as_such() -> None:
    table = promote_in_turn("1", "2", "3")
    table.registry.add("4")
    table.registry.aliases["champion"] = "1"
    assert open_rollout(table.control(), "iris").from_version == "1"
    last = table.log.moves[-1]
    assert (last.who, last.from_version, last.to_version) == ("by hand in MLflow", "3", "1")


def test_a_repeated_plan_finds_its_row() -> None:
    table = set_table("4", champion="3")
    first = open_rollout(table.control(), "iris")
    assert open_rollout(table.control(), "iris").rollout_id == first.rollout_id


def test_a_newer_version_takes_the_place_of_an_older_one() -> None:
    table = set_table("4", champion="3")
    older = open_rollout(table.control("dag/older"), "iris")
    steps.start_canary(table.control("dag/older"), older.rollout_id)
    table.registry.add("5")
    newer = open_rollout(table.control("dag/newer"), "iris")
    assert (newer.from_version, newer.to_version) == ("3", "5")
    ended = table.rows.read(older.rollout_id)
    assert (ended.state, ended.reason) == ("aborted", "version 5 takes its place (dag/newer)")
    assert "rollout" not in table.registry.tags["4"]
    assert "challenger" not in table.registry.aliases
    with pytest.raises(RolloutLostError):
        steps.promote(table.control("dag/older"), older.rollout_id)


def test_a_person_who_asks_for_an_older_version_gets_it() -> None:
    table = set_table("4", champion="3")
    open_rollout(table.control("dag/one"), "iris")
    assert open_rollout(table.control("dag/two"), "iris", "2").to_version == "2"


@pytest.mark.parametrize(
    ("version", "refusal"), [(None, FrozenModelError), ("9", NoCandidateError), ("3", NothingNewError)]
)
def test_what_may_not_be_rolled_out_takes_nobodys_place(version: str | None, refusal: type[Exception]) -> None:
    table = set_table("4", champion="3")
    table.log.record("iris", "freeze", "ada", "the fair")
    under_way = open_rollout(table.control("dag/one"), "iris", "4")
    table.registry.add("5")
    with pytest.raises(refusal):
        open_rollout(table.control("dag/two"), "iris", version)
    assert table.rows.find_active("iris") == under_way


def test_the_same_version_twice_stands_aside_while_the_first_one_lives() -> None:
    table = set_table("4", champion="3")
    first = open_rollout(table.control("dag/one"), "iris")
    pause = table.stack.pause

    def renewing(seconds: float) -> None:
        pause(seconds)
        table.rows.write(first.rollout_id, lease_seconds=60)

    table.stack.pause = renewing  # type: ignore[method-assign]
    with pytest.raises(UnderWayError, match="validating by dag/one"):
        open_rollout(table.control("dag/two"), "iris")


def test_the_same_version_is_taken_over_when_the_lease_of_the_first_one_ends() -> None:
    table = set_table("4", champion="3")
    first = open_rollout(table.control("dag/one"), "iris")
    taken = open_rollout(table.control("dag/two"), "iris")
    assert (taken.rollout_id, taken.owner) == (first.rollout_id, "dag/two")
    assert table.stack.clock() > 120
    with pytest.raises(RolloutLostError, match="driven by dag/two"):
        steps.start_canary(table.control("dag/one"), first.rollout_id)


def test_one_that_moves_the_aliases_is_waited_for() -> None:
    table = set_table("4", champion="3")
    first = open_rollout(table.control("dag/one"), "iris")
    judge(table.control("dag/one"), first.rollout_id)
    steps.promote(table.control("dag/one"), first.rollout_id)
    table.registry.add("5")
    pause = table.stack.pause

    def ending(seconds: float) -> None:
        pause(seconds)
        steps.verify_through_gateway(table.control("dag/one"), first.rollout_id)

    table.stack.pause = ending  # type: ignore[method-assign]
    opened = open_rollout(table.control("dag/two"), "iris")
    assert (opened.from_version, opened.to_version) == ("4", "5")


@pytest.mark.parametrize(("champion", "state"), [("4", "promoted"), ("3", "inconclusive")])
def test_a_rollout_that_was_interrupted_while_it_moved_the_aliases_is_settled_first(champion: str, state: str) -> None:
    table = promote_in_turn("1", "2", "3")
    table.registry.add("4")
    first = open_rollout(table.control("dag/one"), "iris")
    table.rows.write(first.rollout_id, lease_seconds=60, state="promoting")
    table.registry.aliases |= {"previous": "3", "champion": champion, "challenger": "4"}
    table.registry.add("5")
    table.rows.now += timedelta(minutes=10)
    opened = open_rollout(table.control("dag/two"), "iris")
    assert (opened.from_version, opened.to_version) == (champion, "5")
    assert table.rows.read(first.rollout_id).state == state
    assert table.registry.aliases["previous"] == ("3" if champion == "4" else "2")
    assert "challenger" not in table.registry.aliases


@pytest.mark.parametrize("minutes", [0, 30])
def test_one_that_was_taken_back_without_its_end_is_not_promoted_again(minutes: int) -> None:
    """Who took it back lost the lock after the move was logged; the log has one promotion of each rollout."""
    table = set_table("3", champion="2", previous="1")
    control = table.control()
    row = open_rollout(control, "iris")
    steps.start_canary(control, row.rollout_id)
    judge(control, row.rollout_id)
    steps.promote(control, row.rollout_id)
    with control.hold(row.rollout_id) as held:
        held.log("rollback", "wrong", from_version="3", to_version="2")
    table.rows.now += timedelta(minutes=minutes)
    again = open_rollout(control, "iris")
    assert (again.rollout_id, again.from_version, again.to_version) == (row.rollout_id + 1, "2", "3")
    assert table.rows.rows[row.rollout_id].state == "inconclusive"
    assert table.registry.aliases["champion"] == "2"


def test_one_that_waits_for_a_person_gives_way_to_a_newer_version_alone() -> None:
    table = set_table("4", champion="3")
    first = open_rollout(table.control("dag/one"), "iris")
    table.rows.write(first.rollout_id, lease_seconds=3600, state="awaiting approval")
    with pytest.raises(UnderWayError, match="awaiting approval"):
        open_rollout(table.control("dag/two"), "iris")
    table.registry.add("5")
    assert open_rollout(table.control("dag/two"), "iris").to_version == "5"


def test_a_rollout_that_awaits_approval_is_restarted_when_its_version_is_requested() -> None:
    table = set_table("4", champion="3")
    first = open_rollout(table.control("dag/one"), "iris")
    table.rows.write(first.rollout_id, lease_seconds=3600, state="awaiting approval")
    second = open_rollout(table.control("dag/two"), "iris", "4")
    assert (second.state, second.owner) == ("validating", "dag/two")
    with pytest.raises(RolloutLostError):
        approve(table.control("dag/one"), first.rollout_id, "ada")
