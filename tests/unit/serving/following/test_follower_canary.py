from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from serving.api.status import describe_readiness, list_served
from tests.unit.serving.follower_replica import FakeRegistry, Replica


def test_a_stable_replica_never_holds_the_challenger(replica: Replica, registry: FakeRegistry) -> None:
    open_canary(registry)
    replica.step()
    assert replica.version(wants_challenger=True) == "1"


def test_a_canary_replica_answers_with_the_challenger_only_when_asked(tmp_path: Path, registry: FakeRegistry) -> None:
    open_canary(registry)
    canary = Replica(tmp_path, registry, pool="canary")
    canary.step()
    assert (canary.version(), canary.version(wants_challenger=True)) == ("1", "2")
    assert [model["variant"] for model in list_served(canary.follower)] == ["challenger", "champion"]


def test_a_version_that_is_asked_for_answers_or_nothing_does(tmp_path: Path, registry: FakeRegistry) -> None:
    open_canary(registry)
    canary = Replica(tmp_path, registry, pool="canary")
    canary.step()

    def pick(version: str, *, wants_challenger: bool) -> str | None:
        served = canary.follower.pick("iris", wants_challenger=wants_challenger, version=version)
        return served.identity.version if served else None

    assert [pick("1", wants_challenger=True), pick("2", wants_challenger=True)] == ["1", "2"]
    assert [pick("1", wants_challenger=False), pick("2", wants_challenger=False)] == ["1", None]
    assert pick("3", wants_challenger=True) is None


def test_a_canary_ends_automatically_even_without_a_registry(tmp_path: Path, registry: FakeRegistry) -> None:
    open_canary(registry)
    canary = Replica(tmp_path, registry, pool="canary")
    canary.step()
    registry.canary_until = datetime.now(UTC) + timedelta(seconds=0.2)
    canary.step()
    registry.is_down = True
    time.sleep(0.3)
    assert canary.version(wants_challenger=True) == "1"


def test_a_challenger_whose_time_is_over_leaves_memory(tmp_path: Path, registry: FakeRegistry) -> None:
    open_canary(registry)
    canary = Replica(tmp_path, registry, pool="canary")
    canary.step()
    registry.canary_until = datetime.now(UTC) - timedelta(seconds=1)
    canary.step()
    assert list(canary.follower.slots) == [("iris", "champion")]


def test_a_promoted_challenger_needs_no_second_load(tmp_path: Path, registry: FakeRegistry) -> None:
    open_canary(registry)
    canary = Replica(tmp_path, registry, pool="canary")
    canary.step()
    challenger = canary.follower.pick("iris", wants_challenger=True)
    registry.aliases = {"champion": "2"}
    canary.step()
    champion = canary.follower.pick("iris", wants_challenger=False)
    assert champion
    assert challenger
    assert champion.model is challenger.model
    assert champion.variant == "champion"


def test_a_shadow_is_held_by_the_canary_pool_and_answers_nobody(tmp_path: Path, registry: FakeRegistry) -> None:
    open_shadow(registry)
    canary, stable = Replica(tmp_path, registry, pool="canary"), Replica(tmp_path, registry, name="two")
    canary.step()
    stable.step()
    assert (canary.version(), canary.version(wants_challenger=True)) == ("1", "1")
    assert canary.follower.pick("iris", wants_challenger=True, version="2") is None
    assert [model["variant"] for model in list_served(canary.follower)] == ["champion"]
    assert (shadow_of(canary), shadow_of(stable)) == ("2", None)


def test_a_shadow_ends_automatically_even_without_a_registry(tmp_path: Path, registry: FakeRegistry) -> None:
    open_shadow(registry)
    canary = Replica(tmp_path, registry, pool="canary")
    canary.step()
    registry.shadow_until = datetime.now(UTC) + timedelta(seconds=0.2)
    canary.step()
    registry.is_down = True
    time.sleep(0.3)
    assert shadow_of(canary) is None
    registry.is_down = False
    canary.step()
    assert list(canary.follower.slots) == [("iris", "champion")]


def test_a_shadow_that_is_withdrawn_or_replaced_leaves_memory(tmp_path: Path, registry: FakeRegistry) -> None:
    open_shadow(registry)
    canary = Replica(tmp_path, registry, pool="canary")
    canary.step()
    registry.register("3", registry.files["2"])
    registry.aliases["shadow"] = "3"
    canary.step()
    assert shadow_of(canary) == "3"
    del registry.aliases["shadow"]
    canary.step()
    assert shadow_of(canary) is None
    assert list(canary.follower.slots) == [("iris", "champion")]


def test_a_shadow_that_does_not_open_is_a_problem_and_harms_no_answer(tmp_path: Path, registry: FakeRegistry) -> None:
    open_shadow(registry)
    registry.register("2", b"not a model")
    canary = Replica(tmp_path, registry, pool="canary")
    canary.step()
    assert (canary.version(), shadow_of(canary)) == ("1", None)
    [problem] = describe_readiness(canary.follower)["problems"]
    assert (problem["alias"], problem["version"]) == ("shadow", "2")


def test_readiness_shows_the_shadow_with_its_rows(tmp_path: Path, registry: FakeRegistry) -> None:
    open_shadow(registry)
    canary = Replica(tmp_path, registry, pool="canary")
    canary.step()
    counts = {"iris": {"version": "2", "rows": 5, "dropped": {"full": 1}}}
    shown = {"name": "iris", "version": "2", "rows": 5, "dropped": {"full": 1}}
    assert describe_readiness(canary.follower, counts)["shadows"] == [shown]
    before = {"iris": {"version": "1", "rows": 5, "dropped": {"full": 1}}}
    assert describe_readiness(canary.follower, before)["shadows"] == [shown | {"rows": 0, "dropped": {}}]


def shadow_of(replica: Replica) -> str | None:
    shadow = replica.follower.pick_shadow("iris")
    return shadow.identity.version if shadow else None


def open_shadow(registry: FakeRegistry) -> None:
    registry.aliases["shadow"] = "2"
    registry.shadow_until = datetime.now(UTC) + timedelta(minutes=1)


def open_canary(registry: FakeRegistry) -> None:
    registry.aliases["challenger"] = "2"
    registry.canary_until = datetime.now(UTC) + timedelta(minutes=1)
