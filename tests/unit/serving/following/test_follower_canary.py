from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from serving.api.status import list_served
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


def open_canary(registry: FakeRegistry) -> None:
    registry.aliases["challenger"] = "2"
    registry.canary_until = datetime.now(UTC) + timedelta(minutes=1)
