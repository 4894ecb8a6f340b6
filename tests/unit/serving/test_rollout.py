from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from ml_code.promotion_log import Action, Move
from serving.errors import FleetError, FrozenModelError, NoCandidateError
from serving.fleet import wait_for_version
from serving.rollout import Rollout, plan, promote, roll_back

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


class FakeAliases:
    def __init__(self, newest_passed: str | None = None, **aliases: str) -> None:
        self.aliases = aliases
        self.newest_passed = newest_passed
        self.tags: dict[str, dict[str, str]] = {}

    def read(self, model: str) -> dict[str, str]:
        return dict(self.aliases)

    def find_newest_passed(self, model: str) -> str | None:
        return self.newest_passed

    def has_passed(self, model: str, version: str) -> bool:
        return int(version) <= int(self.newest_passed or 0)

    def exists(self, model: str, version: str) -> bool:
        return version.isdecimal()

    def move(self, model: str, alias: str, version: str) -> None:
        self.aliases[alias] = version

    def delete(self, model: str, alias: str) -> None:
        self.aliases.pop(alias, None)

    def tag(self, model: str, version: str, key: str, value: str) -> None:
        self.tags[version] = {key: value}


class FakeLog:
    """The newest move stands last."""

    def __init__(self, *moves: Move) -> None:
        self.moves = list(moves)

    def record(
        self,
        model: str,
        action: Action,
        who: str,
        why: str,
        *,
        from_version: str | None = None,
        to_version: str | None = None,
    ) -> None:
        self.moves.append(Move(NOON, model, action, from_version, to_version, who, why))

    def list_moves(self, model: str, limit: int = 50) -> list[Move]:
        return self.moves[::-1][:limit]

    def find_freeze(self, model: str) -> Move | None:
        last = next((move for move in self.list_moves(model) if move.action in {"freeze", "unfreeze"}), None)
        return last if last and last.action == "freeze" else None


class FakeFleet:
    def __init__(self, *readings: Mapping[str, str | None]) -> None:
        self.readings = list(readings)

    def read_versions(self, model: str) -> Mapping[str, str | None]:
        return self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]


def no_pause(seconds: float) -> None:
    """The fleet's readings stand in for the time that passes."""


def test_the_newest_passed_version_is_rolled_out() -> None:
    assert plan(FakeAliases("4", champion="3"), FakeLog(), "iris") == Rollout("iris", "3", "4")


def test_a_version_by_hand_wins_over_the_newest() -> None:
    assert plan(FakeAliases("4", champion="3"), FakeLog(), "iris", "2") == Rollout("iris", "3", "2")


def test_unasked_a_champion_that_is_newer_than_every_passed_version_stays() -> None:
    assert plan(FakeAliases("9", champion="10"), FakeLog(), "iris") == Rollout("iris", "10", "10")


def test_without_a_passed_version_there_is_nothing_to_roll_out() -> None:
    with pytest.raises(NoCandidateError, match="iris: found no version with the tag gate=passed"):
        plan(FakeAliases(), FakeLog(), "iris")


@pytest.mark.parametrize("version", ["9", "newest", "-1", "3.0"])
def test_a_version_that_is_not_registered_is_refused_before_any_alias_moves(version: str) -> None:
    with pytest.raises(NoCandidateError, match=f"iris: found no version {version} with the tag gate=passed"):
        plan(FakeAliases("4", champion="3", previous="2"), FakeLog(), "iris", version)


def test_promoting_remembers_the_version_before() -> None:
    aliases = FakeAliases(champion="3")
    promote(aliases, FakeLog(), Rollout("iris", "3", "4"), "ada", "better")
    assert aliases.aliases == {"champion": "4", "previous": "3"}


def test_promoting_again_keeps_the_version_before() -> None:
    aliases = FakeAliases(champion="3")
    for _ in range(2):
        promote(aliases, FakeLog(), Rollout("iris", "3", "4"), "ada", "better")
    assert aliases.aliases == {"champion": "4", "previous": "3"}


def test_rolling_out_what_serves_already_does_not_make_it_its_own_predecessor() -> None:
    aliases, log = FakeAliases(champion="4", previous="3"), FakeLog()
    promote(aliases, log, Rollout("iris", "4", "4"), "ada", "better")
    assert aliases.aliases == {"champion": "4", "previous": "3"}


def test_the_first_version_ever_has_no_version_before() -> None:
    aliases = FakeAliases()
    promote(aliases, FakeLog(), Rollout("iris", None, "1"), "ada", "the first")
    assert aliases.aliases == {"champion": "1"}


def test_waiting_ends_when_every_replica_has_the_version_twice_running() -> None:
    fleet = FakeFleet({}, {"a": "1", "b": None}, {"a": "2", "b": "2"}, {"a": "2", "b": "1"}, {"a": "2", "b": "2"})
    assert wait_for_version(fleet, "iris", "2", 60, no_pause) == ["a", "b"]
    assert fleet.readings == [{"a": "2", "b": "2"}]


@pytest.mark.parametrize("reading", [{}, {"a": "1"}, {"a": "2", "b": None}])
def test_waiting_for_replicas_that_do_not_come_fails_and_says_what_they_have(reading: dict[str, str | None]) -> None:
    with pytest.raises(FleetError, match="expected every replica to answer with version 2"):
        wait_for_version(FakeFleet(reading), "iris", "2", 0, no_pause)


def test_a_promotion_is_logged_with_who_and_why() -> None:
    log = FakeLog()
    promote(FakeAliases(champion="3"), log, Rollout("iris", "3", "4"), "ada", "better")
    assert log.moves == [Move(NOON, "iris", "promote", "3", "4", "ada", "better")]


def test_what_serves_already_is_not_logged_again() -> None:
    log = FakeLog()
    promote(FakeAliases(champion="4"), log, Rollout("iris", "4", "4"), "ada", "better")
    assert log.moves == []


def test_a_frozen_model_is_rolled_out_only_by_hand() -> None:
    aliases, log = FakeAliases("4", champion="3"), FakeLog()
    log.record("iris", "freeze", "ada", "the fair")
    with pytest.raises(FrozenModelError, match="expected no freeze; version 4 waits"):
        plan(aliases, log, "iris")
    assert plan(aliases, log, "iris", "4") == Rollout("iris", "3", "4")
    log.record("iris", "unfreeze", "ada", "it is over")
    assert plan(aliases, log, "iris") == Rollout("iris", "3", "4")


def promote_in_turn(*versions: str) -> tuple[FakeAliases, FakeLog]:
    aliases, log = FakeAliases(), FakeLog()
    for version in versions:
        promote(aliases, log, Rollout("iris", aliases.aliases.get("champion"), version), "ada", "better")
    return aliases, log


def test_a_rollback_goes_back_one_version_at_a_time() -> None:
    aliases, log = promote_in_turn("1", "2", "3")
    assert roll_back(aliases, log, "iris", "ada", "wrong") == Rollout("iris", "3", "2")
    assert aliases.aliases == {"champion": "2", "previous": "1"}
    assert roll_back(aliases, log, "iris", "ada", "wrong too") == Rollout("iris", "2", "1")
    assert aliases.aliases == {"champion": "1"}
    assert aliases.tags == {"3": {"rolled_back": "wrong"}, "2": {"rolled_back": "wrong too"}}
    assert [move.action for move in log.moves] == ["promote"] * 3 + ["rollback"] * 2
    with pytest.raises(NoCandidateError, match="found no version before the champion"):
        roll_back(aliases, log, "iris", "ada", "again")


def test_a_rollback_that_was_cut_off_is_finished_by_the_next_one() -> None:
    aliases, log = promote_in_turn("1", "2", "3")
    aliases.aliases["champion"] = "2"
    assert roll_back(aliases, log, "iris", "ada", "wrong") == Rollout("iris", "3", "2")
    assert aliases.aliases == {"champion": "2", "previous": "1"}
    assert "2" not in aliases.tags
