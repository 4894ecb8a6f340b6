"""Watches a canary beside the stable version for a window, replays rows where clients send too few, and judges."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ml_code.gate.holdout_rows import HoldoutRows
from ml_code.model_file.spec import Value
from serving.comparison.analysis import (
    Pool,
    Rules,
    Spread,
    find_breach,
    find_clear_breach,
    find_shortage,
    spread_of_answers,
)
from serving.comparison.counters import Totals
from serving.errors import BreachError, InconclusiveError, MovedByHandError, RegistryError
from serving.figures import LIVE, REPLAY
from serving.fleet.gateway import Answer, Variant
from serving.fleet.replicas import Challenger
from serving.registry.names import CHAMPION
from serving.rollout.held import HeldRollout

LOOK_SECONDS = 2.0
"""Pause between two looks, each of which may end a bad version."""

RENEW_LOOKS = 5
"""Looks after which the lease and the figures are written again."""

ABSENT_LOOKS = 4
"""Looks in a row without the challenger in the canary pool; a replica that restarts is back before."""

WARM_UP_ROWS = 8
"""Requests to each pool before latencies count: the first ones of a process are slow, whatever it serves."""

REPLAY_ROWS = 50
"""Rows that are replayed to each pool between two looks."""

TOLERANCE = 1e-3
"""Largest relative difference between an answer through the gateway and that of the file itself."""

WRONG_SHARE = 0.02
"""Share of replayed rows whose answer may differ from the file's."""

OK = 200

logger = logging.getLogger("serving")


def watch_canary(held: HeldRollout, rules: Rules, window_seconds: float, holdout: HoldoutRows) -> dict[str, Any]:
    """Watches until the window is over and enough was seen; returns the figures.

    Raises:
        BreachError: the canary does worse than it may, or the champion was moved meanwhile.
        InconclusiveError: too few requests, replayed ones included, or the canary is absent.
        RolloutLostError: another run took over.
    """
    spread = spread_of_answers(holdout.answers, are_classes=holdout.spec.task == "classification")
    watch = Watch(held, rules, spread, _repeat(holdout))
    try:
        watch.run(window_seconds)
    except BreachError:
        # A reader of the reason needs the figures of that moment, not those of some looks before.
        try:
            held.note(figures=watch.describe())
        except RegistryError as error:
            logger.warning("%s: the registry is not reached, the figures are lost: %s", held.row.name, error)
        raise
    return watch.describe()


@dataclass(slots=True)
class Watch:
    """One analysis and what it has seen so far; `wrong` and `failed` are of replayed rows, as their client saw it."""

    held: HeldRollout
    rules: Rules
    spread: Spread
    rows: Iterator[tuple[list[Value], Any]]
    totals: Totals = field(default_factory=lambda: Totals({}))
    looks: int = 0
    absent: int = 0
    replayed: int = 0
    wrong: int = 0
    failed: dict[Variant, int] = field(default_factory=lambda: {"stable": 0, "canary": 0})
    example: str = ""

    @property
    def pools(self) -> tuple[Pool, Pool]:
        """The canary's figures and the stable version's."""
        canary, stable = self.held.row.to_version, self.held.row.from_version or ""
        read = self.totals.read
        return Pool(read(canary, LIVE), read(canary, REPLAY)), Pool(read(stable, LIVE), read(stable, REPLAY))

    @property
    def shortage(self) -> str | None:
        """The requests that are missing for a decision; None where there were enough."""
        canary, stable = self.pools
        return find_shortage(canary, stable, self.rules, self.replayed)

    def describe(self) -> dict[str, Any]:
        """The figures as they are stored and shown."""
        canary, stable = self.pools
        return {"canary": canary.describe(), "stable": stable.describe()}

    def run(self, window_seconds: float) -> None:
        """Looks, and replays the missing requests, until the canary is judged."""
        control = self.held.control
        self.replay(WARM_UP_ROWS)
        self.totals = Totals(control.fleet.read_figures(self.held.row.model))
        deadline = control.clock() + window_seconds
        while control.clock() < deadline:
            control.pause(LOOK_SECONDS)
            self.look()
            self.judge()
        most = self.replayed + 2 * self.rules.minimum_requests
        while self.shortage and self.replayed < most:
            self.replay(REPLAY_ROWS)
            self.look()
            if self.absent:
                control.pause(LOOK_SECONDS)
            self.judge()
        self.judge(is_over=True)
        if shortage := self.shortage:
            raise InconclusiveError(shortage)

    def judge(self, *, is_over: bool = False) -> None:
        """Judges the canary beside the stable version; before the window is over, by clear breaches alone.

        Raises:
            BreachError: the canary does worse than it may.
        """
        canary, stable = self.pools
        find = find_breach if is_over else find_clear_breach
        _raise(find(canary, stable, self.rules, self.spread))

    def look(self) -> None:
        """Reads every replica once.

        Raises:
            BreachError: the canary pool refuses the challenger, or the champion has changed.
            InconclusiveError: the canary pool does not answer with the challenger.
            RolloutLostError: another run took over.
        """
        fleet, row = self.held.control.fleet, self.held.row
        self.looks += 1
        self.totals.add(fleet.read_figures(row.model))
        self._find_absence(list(fleet.read_challengers(row.model).values()))
        # A host that slept wakes with a canary that has closed: it is opened again at once.
        if self.absent == 1 or self.looks % RENEW_LOOKS == 0:
            self._renew()

    def _find_absence(self, challengers: Sequence[Challenger]) -> None:
        """Counts the looks without the challenger in all of the canary pool; its absence is not its fault."""
        row = self.held.row
        for challenger in challengers:
            if challenger.refused_version == row.to_version:
                raise BreachError(f"the canary pool refuses version {row.to_version}: {challenger.reason}")
        versions = {challenger.version for challenger in challengers}
        self.absent = 0 if versions == {row.to_version} else self.absent + 1
        if self.absent >= ABSENT_LOOKS:
            found = ", ".join(sorted(str(version) for version in versions)) or "no replica"
            raise InconclusiveError(f"the canary pool: found {found}, expected version {row.to_version} on all of it")

    def replay(self, count: int) -> None:
        """Sends the same holdout rows to both pools, and compares the canary's answers with its file's.

        Raises:
            BreachError: the canary fails rows that the stable version answers, or its answers differ from its file's.
        """
        chunk = list(islice(self.rows, count))
        self.replayed += len(chunk)
        answers: list[Answer] = []
        variants: tuple[Variant, Variant] = ("stable", "canary")
        for variant in variants:
            answers = self.held.control.gateway.predict(self.held.row.model, [row for row, _ in chunk], variant)
            self.failed[variant] += sum(answer.status != OK for answer in answers)
        for (row, expected), answer in zip(chunk, answers, strict=True):
            if answer.status != OK:
                self.example = self.example or f"status {answer.status}, {answer.problem}"
            elif answer.version == self.held.row.to_version and not is_same(expected, answer.prediction):
                self.wrong += 1
                self.example = self.example or f"{row}: found {answer.prediction!r}, expected {expected!r}"
        _raise(self._find_bad_replays())

    def _find_bad_replays(self) -> str | None:
        """The breach in the canary's answers to replayed rows; None without one."""
        failed = self.failed["canary"] - self.failed["stable"]
        if failed > max(self.rules.tolerated_failures, self.rules.success_drop * self.replayed):
            return (
                f"errors: found {failed} more failures than of the stable version in {self.replayed} replayed rows, "
                f"such as {self.example}"
            )
        if self.wrong > max(self.rules.tolerated_failures, WRONG_SHARE * self.replayed):
            return (
                f"answers: found {self.wrong} of {self.replayed} replayed rows with another answer than the file's, "
                f"such as {self.example}"
            )
        return None

    def _renew(self) -> None:
        """Renews the lease, writes the figures, and checks that no person moved the champion."""
        row = self.held.row
        try:
            self.held.renew()
            champion = self.held.control.registry.read(row.model).get(CHAMPION)
            self.held.note(figures=self.describe())
        except RegistryError as error:  # it comes back, or the canary closes automatically and is absent
            logger.warning("%s: the registry is not reached, the analysis goes on: %s", row.name, error)
            return
        if champion != row.from_version:
            raise MovedByHandError(
                f"the champion: found version {champion}, expected {row.from_version}; it was moved by hand meanwhile"
            )


def is_same(expected: float | int | str, found: object) -> bool:
    """Whether an answer through the gateway is that of the file itself."""
    if isinstance(expected, float) and isinstance(found, (int, float)):
        return abs(expected - found) <= TOLERANCE * max(1.0, abs(expected))
    return expected == found


def _repeat(holdout: HoldoutRows) -> Iterator[tuple[list[Value], Any]]:
    while True:
        for row, answer in zip(holdout.rows, holdout.answers, strict=True):
            yield list(row), answer


def _raise(breach: str | None) -> None:
    if breach is not None:
        raise BreachError(breach)
