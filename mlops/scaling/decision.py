"""How many replicas shall run: a function of what was seen, without a clock and without Docker.

Out at once and by twice at most, in by one after five quiet minutes. The load at which one goes is lower than the one
at which one comes, so a steady load never moves the number to and fro.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FULL_LOAD = 0.6
"""Load of one replica from which on another one is added. Above it requests begin to wait for each other."""

EASY_LOAD = 0.45
"""Load of each that remains at which one may go."""

QUIET_SECONDS = 300.0
"""How long the load must be low before one goes, and between two that go."""

SPARE_MB = 1024.0
"""Memory that stays free: a training takes up to so much."""

REQUESTS_MB = 200.0
"""What a replica takes beyond what it holds now, while it computes large requests (docs/budgets.md)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The fewest and the most replicas that a person wants."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Room:
    """The machine of the engine: its cores, its free memory, and the memory of the largest replica, in MB."""

    cores: int
    free_mb: float
    replica_mb: float

    def count_by_memory(self, replicas: int) -> int:
        """The most replicas that memory allows, where some run."""
        return replicas + max(0, math.floor((self.free_mb - SPARE_MB) / (self.replica_mb + REQUESTS_MB)))


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen at a moment, in seconds of any clock.

    `load` is the sum of the replicas' loads, each from 0 (idle) to about 1 (no time left); None where it is not known.
    """

    at: float
    replicas: int
    answering: int
    load: float | None
    room: Room
    analysis: str = ""
    """The model whose canary is being analysed."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The number that shall run, why, and since when the load is low (None: it is not)."""

    replicas: int
    why: str = ""
    quiet_since: float | None = None


def decide(seen: Sight, limits: Limits, quiet_since: float | None = None) -> Decision:
    """The number of replicas for what was seen, and for the quiet time that the decision before told.

    >>> decide(Sight(at=5, replicas=2, answering=2, load=1.9, room=room), Limits(2, 6)).replicas
    4
    """
    if seen.analysis:
        return Decision(seen.replicas, f"the canary of {seen.analysis} is being analysed")
    most = max(seen.replicas, min(limits.most, seen.room.cores, seen.room.count_by_memory(seen.replicas)))
    if seen.replicas < limits.least:
        return Decision(min(limits.least, most), f"at least {limits.least} shall run")
    if seen.load is None:
        return Decision(seen.replicas, "the load is not known")
    wanted = math.ceil(seen.load / FULL_LOAD - 1e-9)
    if wanted > seen.replicas:
        target = min(wanted, 2 * seen.replicas, most)
        is_full = target == seen.replicas
        return Decision(
            target, f"a load of {seen.load:.2f}" + (f", and no room for more than {most}" if is_full else "")
        )
    if not _may_one_go(seen, seen.load, limits):
        return Decision(seen.replicas)
    return _wait_for_quiet(seen, seen.load, seen.at if quiet_since is None else quiet_since)


def _may_one_go(seen: Sight, load: float, limits: Limits) -> bool:
    """Whether the others would carry the load; one that does not answer carries none, and may be about to start."""
    if seen.replicas <= limits.least or seen.answering < seen.replicas:
        return False
    return seen.replicas > limits.most or load <= EASY_LOAD * (seen.replicas - 1)


def _wait_for_quiet(seen: Sight, load: float, since: float) -> Decision:
    if seen.at - since < QUIET_SECONDS:
        return Decision(seen.replicas, quiet_since=since)
    return Decision(seen.replicas - 1, f"a load of {load:.2f} for {QUIET_SECONDS / 60:.0f} minutes", seen.at)
