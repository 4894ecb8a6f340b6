"""Follows the load: reads the replicas every few seconds, decides, and changes their number, until the stack stops."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from ml_code.errors import MlopsError
from mlops.errors import ScalingError
from mlops.local.interruption import postponed
from mlops.scaling.decision import REQUESTS_MB, SPARE_MB, Decision, Limits, Room, Sight, decide
from mlops.scaling.load import Reading, measure_load

PAUSE_SECONDS = 5.0

UNKNOWN_ANALYSIS = "a model (the warehouse does not answer)"


class Replicas(Protocol):
    """The replicas as the loop needs them."""

    def count(self) -> int:
        """The replicas that run."""

    def is_stopped(self) -> bool:
        """Whether somebody has stopped the stack."""

    def read(self) -> Reading:
        """The counters of each replica, and the machine."""

    def scale(self, replicas: int) -> None:
        """Starts or ends replicas, and nothing else."""

    def remove_leftovers(self) -> None:
        """Ends replicas that were started while somebody stopped the stack."""


def check_most(most: int, replicas: int, room: Room, name: str, *, by_cores: bool) -> None:
    """Refuses more replicas than the machine has room for.

    Raises:
        ScalingError: memory, or with `by_cores` the cores, are too few.
    """
    by_memory = room.count_by_memory(replicas)
    if most > max(by_memory, replicas):
        raise ScalingError(
            f"{name}: found {most} replicas, expected at most {max(by_memory, replicas)}: {room.free_mb:.0f} MB of the "
            f"machine's memory are free beside the {replicas} that run, of which {SPARE_MB:.0f} MB stay free, and one "
            f"takes {room.replica_mb + REQUESTS_MB:.0f} MB; ask for fewer"
        )
    if by_cores and most > room.cores:
        raise ScalingError(
            f"{name}: found {most} replicas, expected at most {room.cores}, the machine's cores: a busy replica takes "
            "one; ask for fewer"
        )


class Autoscaler:
    """The loop. `say` gets a line for each change, and one when the reason for standing still changes.

    >>> Autoscaler(Pool(env_file), Limits(2, 6), find_analysis, print).run()
    """

    def __init__(
        self,
        replicas: Replicas,
        limits: Limits,
        find_analysis: Callable[[], str],
        say: Callable[[str], None],
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._replicas = replicas
        self._limits = limits
        self._find_analysis = find_analysis
        self._say = say
        self._pause = pause
        self._before: Reading | None = None
        self._quiet_since: float | None = None
        self._told = ""

    def run(self) -> None:
        """Works until the stack is stopped.

        Raises:
            ScalingError: Docker does not answer at all.
        """
        while not self._replicas.is_stopped():
            try:
                self._step()
            except ScalingError as error:
                self._forget()
                self._tell(str(error))
            self._pause(PAUSE_SECONDS)
        self._replicas.remove_leftovers()
        self._say("the stack was stopped, so there is nothing to scale")

    def _step(self) -> None:
        count, reading = self._replicas.count(), self._replicas.read()
        before, self._before = self._before, reading
        if before is None:
            return
        load = measure_load(before, reading)
        seen = Sight(reading.at, count, len(reading.replicas), load, reading.room)
        decision = decide(seen, self._limits, self._quiet_since)
        if decision.replicas != count and (analysis := self._look_for_analysis()):
            decision = decide(replace(seen, analysis=analysis), self._limits, self._quiet_since)
        self._quiet_since = decision.quiet_since
        self._follow(decision, count)

    def _follow(self, decision: Decision, count: int) -> None:
        if decision.replicas == count:
            self._tell(decision.why)
            return
        # Between the reading and now somebody may have begun to stop the stack.
        if self._replicas.is_stopped():
            return
        with postponed():
            self._replicas.scale(decision.replicas)
            self._told = ""
            self._say(f"{count} -> {decision.replicas} replicas: {decision.why}")

    def _look_for_analysis(self) -> str:
        """The model that is being analysed. Where nobody knows, the number stays."""
        try:
            return self._find_analysis()
        except MlopsError:
            return UNKNOWN_ANALYSIS

    def _forget(self) -> None:
        self._before, self._quiet_since = None, None

    def _tell(self, why: str) -> None:
        """Says a reason once, and not each of many equal ones; the figures in it differ each time."""
        kind = "".join(letter for letter in why if not letter.isdigit())
        if why and kind != self._told:
            self._say(f"no change: {why}")
        self._told = kind
