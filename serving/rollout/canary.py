"""Watches a canary beside the stable version for a window, replays rows where clients send too few, and judges."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ml_code.gate.holdout_rows import HoldoutRows
from ml_code.model_file.spec import Value
from serving.comparison.analysis import Pool, Rules, find_breach, find_clear_breach, find_shortage, spread_of_answers
from serving.comparison.counters import Totals
from serving.errors import BreachError, InconclusiveError, MovedByHandError, RegistryError
from serving.figures import LIVE, REPLAY
from serving.fleet.gateway import Answer, Variant
from serving.registry.names import CHAMPION
from serving.rollout.control import RolloutControl, note, renew
from serving.rollout.rows import Rollout

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


@dataclass(slots=True)
class Watch:
    """What one analysis has seen so far; `wrong` and `failed` are of replayed rows, as their client saw it."""

    rows: Iterator[tuple[list[Value], Any]]
    totals: Totals = field(default_factory=lambda: Totals({}))
    looks: int = 0
    absent: int = 0
    replayed: int = 0
    wrong: int = 0
    failed: dict[Variant, int] = field(default_factory=lambda: {"stable": 0, "canary": 0})
    example: str = ""


def watch_canary(
    control: RolloutControl, rollout: Rollout, rules: Rules, window_seconds: float, holdout: HoldoutRows
) -> dict[str, Any]:
    """Watches until the window is over and enough was seen; returns the figures.

    Raises:
        BreachError: the canary does worse than it may, is absent, or the champion was moved meanwhile.
        InconclusiveError: too few requests, replayed ones included.
        RolloutLostError: another run took over.
    """
    watch = Watch(_repeat(holdout))
    try:
        _watch_window(control, rollout, rules, window_seconds, holdout, watch)
    except BreachError:
        # A reader of the reason needs the figures of that moment, not those of some looks before.
        try:
            note(control, rollout, figures=describe(rollout, watch))
        except RegistryError as error:
            logger.warning("%s: the registry is not reached, the figures are lost: %s", rollout.name, error)
        raise
    return describe(rollout, watch)


def look(control: RolloutControl, rollout: Rollout, watch: Watch) -> None:
    """Reads every replica once.

    Raises:
        BreachError: the canary pool does not answer with the challenger, or the champion has changed.
        RolloutLostError: another run took over.
    """
    watch.looks += 1
    watch.totals.add(control.fleet.read_figures(rollout.model))
    versions = {challenger.version for challenger in control.fleet.read_challengers(rollout.model).values()}
    watch.absent = 0 if rollout.to_version in versions and len(versions) == 1 else watch.absent + 1
    if watch.absent >= ABSENT_LOOKS:
        found = ", ".join(sorted(str(version) for version in versions)) or "no replica"
        raise BreachError(f"the canary pool: found {found}, expected version {rollout.to_version} on all of it")
    if watch.looks % RENEW_LOOKS:
        return
    try:
        renew(control, rollout)
        champion = control.registry.read(rollout.model).get(CHAMPION)
        note(control, rollout, figures=describe(rollout, watch))
    except RegistryError as error:  # it comes back, or the canary closes automatically and is absent
        logger.warning("%s: the registry is not reached, the analysis goes on: %s", rollout.name, error)
        return
    if champion != rollout.from_version:
        raise MovedByHandError(
            f"the champion: found version {champion}, expected {rollout.from_version}; it was moved by hand meanwhile"
        )


def replay(control: RolloutControl, rollout: Rollout, watch: Watch, rules: Rules, count: int) -> None:
    """Sends the same holdout rows to both pools, and compares the canary's answers with its file's.

    Raises:
        BreachError: the canary fails rows that the stable version answers, or its answers differ from its file's.
    """
    chunk = list(islice(watch.rows, count))
    watch.replayed += len(chunk)
    answers: list[Answer] = []
    variants: tuple[Variant, Variant] = ("stable", "canary")
    for variant in variants:
        answers = control.gateway.predict(rollout.model, [row for row, _ in chunk], variant)
        watch.failed[variant] += sum(answer.status != OK for answer in answers)
    for (row, expected), answer in zip(chunk, answers, strict=True):
        if answer.status != OK:
            watch.example = watch.example or f"status {answer.status}, {answer.problem}"
        elif answer.version == rollout.to_version and not is_same(expected, answer.prediction):
            watch.wrong += 1
            watch.example = watch.example or f"{row}: found {answer.prediction!r}, expected {expected!r}"
    _raise(find_bad_replays(watch, rules))


def find_bad_replays(watch: Watch, rules: Rules) -> str | None:
    """The breach in the canary's answers to replayed rows; None without one."""
    failed = watch.failed["canary"] - watch.failed["stable"]
    if failed > max(rules.tolerated_failures, rules.success_drop * watch.replayed):
        return (
            f"errors: found {failed} more failures than of the stable version in {watch.replayed} replayed rows, "
            f"such as {watch.example}"
        )
    if watch.wrong > max(rules.tolerated_failures, WRONG_SHARE * watch.replayed):
        return (
            f"answers: found {watch.wrong} of {watch.replayed} replayed rows with another answer than the file's, "
            f"such as {watch.example}"
        )
    return None


def read_pools(rollout: Rollout, watch: Watch) -> tuple[Pool, Pool]:
    """The canary's figures and the stable version's."""
    canary, stable = rollout.to_version, rollout.from_version or ""
    read = watch.totals.read
    return Pool(read(canary, LIVE), read(canary, REPLAY)), Pool(read(stable, LIVE), read(stable, REPLAY))


def describe(rollout: Rollout, watch: Watch) -> dict[str, Any]:
    """The figures as they are stored and shown."""
    canary, stable = read_pools(rollout, watch)
    return {"canary": canary.describe(), "stable": stable.describe()}


def is_same(expected: float | int | str, found: object) -> bool:
    """Whether an answer through the gateway is that of the file itself."""
    if isinstance(expected, float) and isinstance(found, (int, float)):
        return abs(expected - found) <= TOLERANCE * max(1.0, abs(expected))
    return expected == found


def _repeat(holdout: HoldoutRows) -> Iterator[tuple[list[Value], Any]]:
    while True:
        for row, answer in zip(holdout.rows, holdout.answers, strict=True):
            yield list(row), answer


def _watch_window(  # noqa: PLR0917
    control: RolloutControl, rollout: Rollout, rules: Rules, window_seconds: float, holdout: HoldoutRows, watch: Watch
) -> None:
    """Looks, and replays the missing requests, until the canary is judged."""
    spread = spread_of_answers(holdout.answers, are_classes=holdout.spec.task == "classification")
    replay(control, rollout, watch, rules, WARM_UP_ROWS)
    watch.totals = Totals(control.fleet.read_figures(rollout.model))
    deadline = control.clock() + window_seconds
    while control.clock() < deadline:
        control.pause(LOOK_SECONDS)
        look(control, rollout, watch)
        _raise(find_clear_breach(*read_pools(rollout, watch), rules, spread))
    most = watch.replayed + 2 * rules.minimum_requests
    while find_shortage(*read_pools(rollout, watch), rules, watch.replayed) and watch.replayed < most:
        replay(control, rollout, watch, rules, REPLAY_ROWS)
        look(control, rollout, watch)
        if watch.absent:
            control.pause(LOOK_SECONDS)
        _raise(find_clear_breach(*read_pools(rollout, watch), rules, spread))
    _raise(find_breach(*read_pools(rollout, watch), rules, spread))
    if shortage := find_shortage(*read_pools(rollout, watch), rules, watch.replayed):
        raise InconclusiveError(shortage)


def _raise(breach: str | None) -> None:
    if breach is not None:
        raise BreachError(breach)
