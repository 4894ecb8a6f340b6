"""Watches a canary beside the stable version for a window, replays holdout rows to both, and judges."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
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
    find_doubt,
    find_shortage,
    spread_of_answers,
)
from serving.comparison.counters import Totals
from serving.comparison.replays import OK, Replays, is_same
from serving.comparison.senders import Evidence
from serving.errors import BreachError, InconclusiveError, MovedByHandError, RegistryError
from serving.figures import LIVE, REPLAY
from serving.fleet.gateway import Gateway, Variant, make_word
from serving.fleet.replicas import Challenger
from serving.registry.names import CHAMPION
from serving.rollout.held import HeldRollout, hash_word

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

SHARES = (10, 50, 100)
"""Per cent of the canary pool's users who get the challenger, in parts of the window that are equally long.

A version that is bad for everybody so meets 1 % of the users, where the pool has 10 %.
"""

VARIANTS: tuple[Variant, Variant] = ("stable", "canary")

logger = logging.getLogger("serving")


def watch_canary(
    held: HeldRollout,
    rules: Rules,
    window_seconds: float,
    holdout: HoldoutRows,
    shares: Sequence[int] = SHARES,
) -> dict[str, Any]:
    """Watches until the window is over and enough was seen; returns the figures.

    Raises:
        BreachError: the canary does worse than it may, or the champion was moved meanwhile.
        InconclusiveError: too few requests, replayed ones included, or the canary is absent.
        RolloutLostError: another run took over.
    """
    spread = spread_of_answers(holdout.answers, are_classes=holdout.spec.task == "classification")
    word = make_word()
    gateway = held.control.gateway.marked(word)
    watch = Watch(held, rules, spread, _repeat(holdout), gateway, word, shares, holdout.scale)
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
    """One analysis and what it has seen so far.

    `scale` is the unit of small answers, and `evidence` what drawn requests showed, by the replicas' processes.
    """

    held: HeldRollout
    rules: Rules
    spread: Spread
    rows: Iterator[tuple[list[Value], Any]]
    gateway: Gateway
    word: str
    shares: Sequence[int] = SHARES
    scale: float = 1.0
    totals: Totals = field(default_factory=lambda: Totals({}))
    looks: int = 0
    absent: int = 0
    evidence: dict[str, Evidence] = field(default_factory=dict)
    share: int | None = None
    replays: Replays = field(init=False)

    def __post_init__(self) -> None:
        self.replays = Replays(self.rules)

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
        return find_shortage(canary.replay, stable.replay, self.rules)

    def describe(self) -> dict[str, Any]:
        """The figures as they are stored and shown."""
        canary, stable = self.pools
        return {"canary": canary.describe(), "stable": stable.describe()}

    def run(self, window_seconds: float) -> None:
        """Looks, and replays the holdout however many people ask, until the canary is judged."""
        control = self.held.control
        self.warm_up()
        self.totals = Totals(control.fleet.read_figures(self.held.row.model))
        began_at = control.clock()
        while (passed := control.clock() - began_at) < window_seconds:
            self._widen(self.shares[int(len(self.shares) * passed / window_seconds)])
            control.pause(LOOK_SECONDS)
            self.look()
            self.judge()
            # Last, since a slow canary takes its time for them.
            if self.replays.rows < self.rules.minimum_requests:
                self.replay(REPLAY_ROWS)
        self.look()
        most = self.replays.rows + 2 * self.rules.minimum_requests
        while self.shortage and self.replays.rows < most:
            self.replay(REPLAY_ROWS)
            self.look()
            if self.absent:
                control.pause(LOOK_SECONDS)
            self.judge()
        self.judge(is_over=True)
        if reason := self.shortage or find_doubt(self.all_evidence, self.rules, self.spread):
            raise InconclusiveError(reason)

    @property
    def all_evidence(self) -> Evidence:
        """What drawn requests showed on all replicas of the canary pool."""
        return reduce(Evidence.plus, self.evidence.values(), Evidence())

    def warm_up(self) -> None:
        """Sends requests that do not count until the replicas of both pools count them as this rollout's own.

        They read every two seconds by which word they know them, and a busy machine takes longer.

        Raises:
            InconclusiveError: they do not in time, or the canary is absent.
        """
        row, control = self.held.row, self.held.control
        versions = (row.to_version, row.from_version or "")
        deadline = control.clock() + control.timeout_seconds
        totals = Totals(control.fleet.read_figures(row.model))
        chunk = [cells for cells, _ in islice(self.rows, WARM_UP_ROWS)]
        is_marked = False
        while True:
            is_marked = is_marked or self._mark()
            for variant in VARIANTS:
                self.gateway.predict(row.model, chunk, variant)
            self.look()
            totals.add(control.fleet.read_figures(row.model))
            counted = [totals.read(version, REPLAY).requests for version in versions]
            if min(counted) >= WARM_UP_ROWS:
                return
            if control.clock() > deadline:
                raise InconclusiveError(
                    f"found {counted[0]:.0f} requests to the canary and {counted[1]:.0f} to the stable version, "
                    f"expected at least {self.rules.minimum_requests} each; the replicas do not know this rollout's"
                )
            control.pause(LOOK_SECONDS)

    def _widen(self, share: int) -> None:
        """Gives the challenger its share of the pool's users; where the registry is away, the next look tries again."""
        if share == self.share:
            return
        try:
            self.held.share_canary(share)
        except RegistryError as error:
            logger.warning("%s: the registry is not reached, it is tried again: %s", self.held.row.name, error)
        else:
            self.share = share

    def _mark(self) -> bool:
        """Tells the replicas by what they know this rollout's requests; False where the registry is away."""
        try:
            self.held.mark_replays(self.word)
        except RegistryError as error:
            logger.warning("%s: the registry is not reached, it is tried again: %s", self.held.row.name, error)
            return False
        return True

    def judge(self, *, is_over: bool = False) -> None:
        """Judges the canary beside the stable version; before the window is over, by clear breaches alone.

        Raises:
            BreachError: the canary does worse than it may.
        """
        canary, stable = self.pools
        find = find_breach if is_over else find_clear_breach
        _raise(find(canary.replay, stable.replay, self.all_evidence, self.rules, self.spread))

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
        # The last reading of a process that died stays.
        self.evidence.update(fleet.read_evidence(row.model, row.to_version, hash_word(self.word)))
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
            InconclusiveError: requests to the canary are not answered.
        """
        chunk = list(islice(self.rows, count))
        self.replays.rows += len(chunk)
        row = self.held.row
        for variant in VARIANTS:
            answers = self.gateway.predict(row.model, [cells for cells, _ in chunk], variant)
            for (cells, expected), answer in zip(chunk, answers, strict=True):
                self.replays.add(variant, answer.status, answer.problem)
                is_its = variant == "canary" and answer.status == OK and answer.version == row.to_version
                if is_its and not is_same(expected, answer.prediction, self.scale):
                    self.replays.add_wrong(f"{cells}: found {answer.prediction!r}, expected {expected!r}")
        _raise(self.replays.find_breach())
        if absence := self.replays.find_absence():
            raise InconclusiveError(absence)

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


def _repeat(holdout: HoldoutRows) -> Iterator[tuple[list[Value], Any]]:
    while True:
        for row, answer in zip(holdout.rows, holdout.answers, strict=True):
            yield list(row), answer


def _raise(breach: str | None) -> None:
    if breach is not None:
        raise BreachError(breach)
