"""How many replicas shall run: the rules on examples, their bounds on any load, and no flapping."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.scaling.decision import EASY_LOAD, FULL_LOAD, QUIET_SECONDS, Decision, Limits, Room, Sight, decide

ROOMY = Room(cores=16, free_mb=64_000, replica_mb=100)
LIMITS = Limits(2, 6)
PAUSE = 5.0

loads = st.floats(0, 20)
limits = st.tuples(st.integers(1, 6), st.integers(0, 10)).map(lambda pair: Limits(pair[0], sum(pair)))


def see(load: float | None, replicas: int = 2, at: float = 0.0, room: Room = ROOMY) -> Sight:
    return Sight(at, replicas, replicas, load, room)


def simulate(
    load_at: Callable[[float], float], seconds: float, allowed: Limits = LIMITS, room: Room = ROOMY
) -> list[tuple[float, int]]:
    """The moments at which the number changes, each with the new number; the first is the start.

    A replica has no more time than there is, so those that run hide what more of them would compute.
    """
    changes, quiet_since = [(0.0, allowed.least)], None
    for step in range(1, int(seconds / PAUSE)):
        at, replicas = step * PAUSE, changes[-1][1]
        decision = decide(see(min(load_at(at), replicas), replicas, at, room), allowed, quiet_since)
        quiet_since = decision.quiet_since
        if decision.replicas != replicas:
            changes.append((at, decision.replicas))
    return changes


@pytest.mark.parametrize(
    ("load", "replicas", "expected"),
    [(0.0, 2, 2), (2 * FULL_LOAD, 2, 2), (1.3, 2, 3), (1.9, 2, 4), (6.0, 2, 4), (6.0, 4, 6), (6.0, 6, 6), (0.0, 1, 2)],
)
def test_out_at_once_by_twice_at_most_and_up_to_the_limit(load: float, replicas: int, expected: int) -> None:
    assert decide(see(load, replicas), LIMITS).replicas == expected


def test_in_by_one_after_five_quiet_minutes_each() -> None:
    first = decide(see(0.1, 6, at=1000), LIMITS)
    assert first == Decision(6, quiet_since=1000)
    early = decide(see(0.1, 6, at=1000 + QUIET_SECONDS - 1), LIMITS, first.quiet_since)
    assert early == Decision(6, quiet_since=1000)
    due = decide(see(0.1, 6, at=1000 + QUIET_SECONDS), LIMITS, early.quiet_since)
    assert (due.replicas, due.quiet_since) == (5, 1000 + QUIET_SECONDS)
    assert decide(see(0.1, 5, at=1000 + 2 * QUIET_SECONDS - 1), LIMITS, due.quiet_since).replicas == 5


@pytest.mark.parametrize(
    "seen",
    [
        see(EASY_LOAD * 5 + 0.01, 6),
        see(None, 6),
        replace(see(0.1, 6), answering=5),
        replace(see(0.1, 6), analysis="iris"),
    ],
    ids=["a load that the others would feel", "an unknown load", "a replica that does not answer", "an analysis"],
)
def test_the_quiet_time_starts_again_after(seen: Sight) -> None:
    assert decide(replace(seen, at=QUIET_SECONDS), LIMITS, 0.0).quiet_since is None


def test_nothing_changes_while_a_canary_is_analysed() -> None:
    for load, replicas in ((6.0, 2), (0.0, 6), (0.0, 1)):
        decision = decide(replace(see(load, replicas, at=QUIET_SECONDS), analysis="iris"), LIMITS, 0.0)
        assert (decision.replicas, "iris" in decision.why) == (replicas, True)


@pytest.mark.parametrize(
    ("room", "most"),
    [
        (Room(3, 64_000, 100), 3),
        (Room(16, 1024 + 299, 100), 2),
        (Room(16, 1024 + 300, 100), 3),
        (Room(16, 0, 100), 2),
    ],
)
def test_never_past_the_cores_and_the_memory(room: Room, most: int) -> None:
    decision = decide(see(6.0, 2, room=room), LIMITS)
    assert decision.replicas == most
    assert (f"no room for more than {most}" in decision.why) == (most == 2)


def test_more_than_the_limit_go_one_by_one_whatever_the_load() -> None:
    assert decide(see(4.0, 8, at=QUIET_SECONDS), LIMITS, 0.0).replicas == 7


@given(loads | st.none(), st.integers(1, 20), limits, st.integers(1, 32), st.floats(0, 20_000))
def test_a_decision_stays_within_its_bounds(
    load: float | None, replicas: int, allowed: Limits, cores: int, free_mb: float
) -> None:
    room = Room(cores, free_mb, 100)
    for quiet_since in (None, 0.0):
        found = decide(see(load, replicas, QUIET_SECONDS, room), allowed, quiet_since).replicas
        assert found >= min(replicas, allowed.least)
        if found > replicas:
            assert found <= min(max(2 * replicas, allowed.least), allowed.most, cores, room.count_by_memory(replicas))
        if found < replicas:
            assert (found, quiet_since) == (replicas - 1, 0.0)


@given(loads, loads, limits)
def test_more_load_never_takes_fewer_replicas(one: float, other: float, allowed: Limits) -> None:
    less, more = (decide(see(load, 4, QUIET_SECONDS), allowed, 0.0).replicas for load in sorted([one, other]))
    assert less <= more


@given(st.floats(0, 6), limits)
@settings(max_examples=50, deadline=None)
def test_a_steady_load_settles(load: float, allowed: Limits) -> None:
    """It moves the number in one direction, and then no more."""
    numbers = [number for _, number in simulate(lambda _: load, 3600, allowed)]
    assert numbers in (sorted(numbers), sorted(numbers, reverse=True))


@given(st.floats(300, 3000), st.floats(0, 300), st.lists(st.floats(0.9, 1.1), min_size=7, max_size=7))
@settings(max_examples=100, deadline=None)
def test_a_rise_from_50_to_1000_requests_a_second_and_back_makes_four_changes_in_ten_minutes(
    rate_of_a_core: float, rise_at: float, noise: Sequence[float]
) -> None:
    """The load of a replica that computes so many requests a second, whose readings differ by a tenth."""

    def load_at(at: float) -> float:
        rate = 1000 if rise_at <= at < rise_at + 180 else 50
        return rate / rate_of_a_core * noise[int(at / PAUSE) % len(noise)]

    changes = [at for at, _ in simulate(load_at, 1800)[1:]]
    assert count_densest(changes, 600) <= 4


@given(st.lists(loads, min_size=1, max_size=40), st.integers(1, 200))
@settings(max_examples=100, deadline=None)
def test_no_load_at_all_takes_two_replicas_away_within_five_minutes(
    levels: Sequence[float], steps_of_each: int
) -> None:
    changes = simulate(lambda at: levels[int(at / PAUSE / steps_of_each) % len(levels)], 3600)
    gone = [at for (_, before), (at, after) in pairwise(changes) if after < before]
    assert all(later - earlier >= QUIET_SECONDS for earlier, later in pairwise(gone))
    # Doubling reaches the limit in so many steps, once for each that went and once at the start.
    assert len(changes) - 1 - len(gone) <= (len(gone) + 1) * math.ceil(math.log2(LIMITS.most))


def count_densest(moments: Sequence[float], seconds: float) -> int:
    return max((sum(start <= at <= start + seconds for at in moments) for start in moments), default=0)
