from __future__ import annotations

from collections.abc import Mapping

import pytest

from serving.errors import FleetError, NoCandidateError
from serving.fleet import wait_for_version
from serving.rollout import Rollout, plan, promote


class FakeAliases:
    def __init__(self, newest_passed: str | None = None, **aliases: str) -> None:
        self.aliases = aliases
        self.newest_passed = newest_passed

    def read(self, model: str) -> dict[str, str]:
        return dict(self.aliases)

    def find_newest_passed(self, model: str) -> str | None:
        return self.newest_passed

    def has_passed(self, model: str, version: str) -> bool:
        return int(version) <= int(self.newest_passed or 0)

    def move(self, model: str, alias: str, version: str) -> None:
        self.aliases[alias] = version


class FakeFleet:
    def __init__(self, *readings: Mapping[str, str | None]) -> None:
        self.readings = list(readings)

    def read_versions(self, model: str) -> Mapping[str, str | None]:
        return self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]


def no_pause(seconds: float) -> None:
    """The fleet's readings stand in for the time that passes."""


def test_the_newest_passed_version_is_rolled_out() -> None:
    assert plan(FakeAliases("4", champion="3"), "iris") == Rollout("iris", "3", "4")


def test_a_version_by_hand_wins_over_the_newest() -> None:
    assert plan(FakeAliases("4", champion="3"), "iris", "2") == Rollout("iris", "3", "2")


def test_unasked_a_champion_that_is_newer_than_every_passed_version_stays() -> None:
    assert plan(FakeAliases("9", champion="10"), "iris") == Rollout("iris", "10", "10")


def test_without_a_passed_version_there_is_nothing_to_roll_out() -> None:
    with pytest.raises(NoCandidateError, match="iris: found no version with the tag gate=passed"):
        plan(FakeAliases(), "iris")


@pytest.mark.parametrize("version", ["9", "newest", "-1", "3.0"])
def test_a_version_that_is_not_registered_is_refused_before_any_alias_moves(version: str) -> None:
    with pytest.raises(NoCandidateError, match=f"iris: found no version {version} with the tag gate=passed"):
        plan(FakeAliases("4", champion="3", previous="2"), "iris", version)


def test_promoting_remembers_the_version_before() -> None:
    aliases = FakeAliases(champion="3")
    promote(aliases, Rollout("iris", "3", "4"))
    assert aliases.aliases == {"champion": "4", "previous": "3"}


def test_promoting_again_keeps_the_version_before() -> None:
    aliases = FakeAliases(champion="3")
    for _ in range(2):
        promote(aliases, Rollout("iris", "3", "4"))
    assert aliases.aliases == {"champion": "4", "previous": "3"}


def test_rolling_out_what_serves_already_does_not_make_it_its_own_predecessor() -> None:
    aliases = FakeAliases(champion="4", previous="3")
    promote(aliases, Rollout("iris", "4", "4"))
    assert aliases.aliases == {"champion": "4", "previous": "3"}


def test_the_first_version_ever_has_no_version_before() -> None:
    aliases = FakeAliases()
    promote(aliases, Rollout("iris", None, "1"))
    assert aliases.aliases == {"champion": "1"}


def test_waiting_ends_when_every_replica_has_the_version_twice_running() -> None:
    fleet = FakeFleet({}, {"a": "1", "b": None}, {"a": "2", "b": "2"}, {"a": "2", "b": "1"}, {"a": "2", "b": "2"})
    assert wait_for_version(fleet, "iris", "2", 60, no_pause) == ["a", "b"]
    assert fleet.readings == [{"a": "2", "b": "2"}]


@pytest.mark.parametrize("reading", [{}, {"a": "1"}, {"a": "2", "b": None}])
def test_waiting_for_replicas_that_do_not_come_fails_and_says_what_they_have(reading: dict[str, str | None]) -> None:
    with pytest.raises(FleetError, match="expected every replica to answer with version 2"):
        wait_for_version(FakeFleet(reading), "iris", "2", 0, no_pause)
