"""The steps that take a registered version to every replica; each may be repeated and returns what it found.

A step takes its versions from the rollout's row and never from the aliases that it moves, so that a repeated one does
not take the new champion for the one before it. A breach ends the rollout within the step that finds it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ml_code.datasets import load_catalog
from ml_code.gate.holdout_rows import HoldoutRows
from serving.comparison.analysis import Rules
from serving.errors import (
    BreachError,
    FleetError,
    FrozenModelError,
    MovedByHandError,
    NoCanaryError,
    RolloutLostError,
)
from serving.fleet.gateway import Answer, Variant
from serving.fleet.replicas import wait_for_challenger, wait_for_version
from serving.registry.names import CHALLENGER, CHAMPION
from serving.rollout.canary import is_same, watch_canary
from serving.rollout.control import RolloutControl, hold, keep_canary_open, note, read_own, renew
from serving.rollout.outcome import abort, abort_held, close_canary, finish
from serving.rollout.rollback import move_aliases
from serving.rollout.rows import MOVING, Rollout
from serving.rollout.validation import Candidate, validate

VERIFIED_ROWS = 5
VERIFY_SECONDS = 20.0
"""The gateway asks Docker's DNS every two seconds, and a replica's last connection may be a few seconds old."""

CANARY_SECONDS = 60.0
"""Longest wait for the canary pool: a download, and the time that a replica gives a file to open."""

logger = logging.getLogger("serving")


def validate_artifact(control: RolloutControl, rollout_id: int, *, allow_schema_change: bool = False) -> str:
    """Checks the version's file before anything serves it; returns what it found.

    Raises:
        BreachError: it must not serve.
        RegistryError: MLflow or its store is away.
    """
    rollout = read_own(control, rollout_id)
    if rollout.state in MOVING:
        return _skip(rollout)
    rollout = note(
        control, rollout, state="validating", reason="the file is opened and measured in a process of its own"
    )
    with _aborting(control, rollout):
        found = validate(
            Candidate(
                registry=control.registry,
                model=rollout.model,
                version=rollout.to_version,
                champion=rollout.from_version,
                limit_bytes=control.limit_bytes,
            ),
            dataset=load_catalog(control.catalog_dir).list_models()[rollout.model],
            allow_schema_change=allow_schema_change,
            renew=lambda: renew(control, rollout),
        )
    return _say(
        rollout,
        f"the file is sound: opens in {found.load_seconds:.2f} s, one row takes {found.one_row_ms:.2f} ms, 1,000 rows "
        f"{found.thousand_rows_ms:.1f} ms, {found.memory_mb:.0f} MB",
    )


def start_canary(control: RolloutControl, rollout_id: int) -> str:
    """Serves the version from the canary pool.

    Raises:
        NoCanaryError: it is the first version ever, or there is no canary pool.
        RolloutLostError: the rollout has ended, or another run drives it.
    """
    with hold(control, rollout_id) as rollout:
        if rollout.state in MOVING:
            return _skip(rollout)
        if rollout.from_version is None or not control.fleet.has_canary_pool:
            why = "it is the first version" if rollout.from_version is None else "there is no canary pool"
            raise NoCanaryError(f"{rollout.name}: {why}, so it goes straight to the replicas")
        # In this order: a challenger that another run left there must not answer.
        control.registry.move(rollout.model, CHALLENGER, rollout.to_version)
        keep_canary_open(control, rollout.model)
        note(control, rollout, state="canary", reason="the canary pool fetches the version")
    return _say(rollout, f"the challenger is version {rollout.to_version}")


def wait_for_canary(control: RolloutControl, rollout_id: int) -> str:
    """Waits until the canary pool answers with the version.

    Raises:
        BreachError: it refuses the version, or does not reach it in time.
    """
    rollout = read_own(control, rollout_id)
    if rollout.state in MOVING:
        return _skip(rollout)
    with _aborting(control, rollout):
        try:
            replicas = wait_for_challenger(
                control.fleet,
                rollout.model,
                rollout.to_version,
                CANARY_SECONDS,
                pause=_renewing(control, rollout),
                clock=control.clock,
            )
        except FleetError as error:
            raise BreachError(str(error)) from error
    return _say(rollout, f"the canary pool answers with version {rollout.to_version}: {', '.join(replicas)}")


def analyse_canary(control: RolloutControl, rollout_id: int, rules: Rules, window_seconds: float) -> str:
    """Compares the canary with the stable version, and ends the rollout on a breach.

    Raises:
        BreachError: the canary does worse than it may.
        InconclusiveError: too little was seen to tell.
    """
    rollout = read_own(control, rollout_id)
    if rollout.state in MOVING:
        return _skip(rollout)
    renew(control, rollout)  # before a second try it may have closed automatically
    holdout = control.read_holdout(rollout.model, rollout.to_version)
    rollout = note(
        control, rollout, state="analysing", reason="the canary answers its share of the requests", figures={}
    )
    with _aborting(control, rollout):
        figures = watch_canary(control, rollout, rules, window_seconds, holdout)
    note(control, rollout, reason="the canary does as well as the stable version", figures=figures)
    return _say(rollout, f"the canary does as well as the stable version: {figures}")


def promote(control: RolloutControl, rollout_id: int) -> str:
    """Makes the version the champion and the one before it `previous`, and closes the canary.

    Raises:
        MovedByHandError: a person moved the champion meanwhile, which has priority.
        FrozenModelError: a person froze the model since the rollout began, and no person approved the version.
    """
    with hold(control, rollout_id) as rollout:
        champion = control.registry.read(rollout.model).get(CHAMPION)
        if champion not in {rollout.from_version, rollout.to_version}:
            reason = f"the champion: found version {champion}, expected {rollout.from_version}; it was moved by hand"
            abort_held(control, rollout, reason, is_verdict=False)
            raise MovedByHandError(f"{rollout.name}: {reason}")
        _refuse_frozen(control, rollout)
        by_whom = f"; {rollout.reason}" if rollout.state == "awaiting approval" else ""
        said = rollout.reason if rollout.state == "promoting" else ""  # by an interrupted try
        promoting = note(control, rollout, state="promoting", reason=said or _describe_success(rollout) + by_whom)
        move_aliases(control, promoting, promoting.reason)
        close_canary(control.registry, promoting)
        note(control, promoting, state="verifying", reason="the replicas follow")
    return _say(rollout, f"the champion is version {rollout.to_version}")


def wait_for_fleet(control: RolloutControl, rollout_id: int) -> list[str]:
    """Waits until every replica answers with the version; returns their addresses.

    Raises:
        BreachError: they did not reach it in time, so the version before serves again.
        FleetError: the same, and there is no version before.
    """
    rollout = read_own(control, rollout_id)
    with _aborting(control, rollout):
        try:
            return wait_for_version(
                control.fleet,
                rollout.model,
                rollout.to_version,
                control.timeout_seconds,
                pause=_renewing(control, rollout),
                clock=control.clock,
            )
        except FleetError as error:
            if rollout.from_version is None:
                raise
            raise BreachError(str(error)) from error


def verify_through_gateway(control: RolloutControl, rollout_id: int) -> str:
    """Sends requests as a client does, on every way through the gateway, and ends the rollout.

    Raises:
        BreachError: another version answers, or differently from the file; the version before serves again.
    """
    found = control.rows.read(rollout_id)
    if found.state == "promoted" and found.owner == control.owner:  # by a try that was interrupted behind it
        return _say(found, f"version {found.to_version} was found to answer through the gateway")
    rollout = read_own(control, rollout_id)
    holdout = control.read_holdout(rollout.model, rollout.to_version)
    variants: list[Variant | None] = [None, "stable", "canary"]
    deadline = control.clock() + VERIFY_SECONDS
    while True:
        problem = next(filter(None, (_verify(control, rollout, holdout, variant) for variant in variants)), None)
        if problem is None:
            break
        if control.clock() > deadline:
            breach = BreachError(f"{rollout.name}: through the gateway: {problem}")
            if rollout.from_version is not None:
                abort(control, rollout_id, breach)
            raise breach
        control.pause(1.0)
        renew(control, rollout)
    with hold(control, rollout_id) as held:
        finish(control, held, _describe_success(held))
    return _say(rollout, f"version {rollout.to_version} answers through the gateway")


def clean_up(control: RolloutControl, rollout_id: int, reason: str) -> str:
    """Ends a rollout whose run failed without ending it, such as by an outage; not the version's fault."""
    try:
        with hold(control, rollout_id) as rollout:
            abort_held(control, rollout, reason, is_verdict=False)
    except RolloutLostError as error:
        return str(error)
    return _say(rollout, f"aborted: {reason}")


def _refuse_frozen(control: RolloutControl, rollout: Rollout) -> None:
    """Refuses a model that was frozen meanwhile, unless a person approved it since or its aliases are being moved."""
    freeze = control.log.find_freeze(rollout.model)
    is_settled = rollout.state == "awaiting approval" or rollout.state in MOVING
    if freeze is None or is_settled or freeze.moved_at <= rollout.started_at:
        return
    reason = f"frozen by {freeze.who} meanwhile ({freeze.why})"
    abort_held(control, rollout, reason, is_verdict=False)
    raise FrozenModelError(f"{rollout.name}: {reason}; `mlops unfreeze {rollout.model}` allows its rollout again")


def _verify(control: RolloutControl, rollout: Rollout, holdout: HoldoutRows, variant: Variant | None) -> str | None:
    answers = control.gateway.predict(rollout.model, list(holdout.rows[:VERIFIED_ROWS]), variant)
    faults = (
        _find_fault(rollout, expected, answer) for expected, answer in zip(holdout.answers, answers, strict=False)
    )
    return next(filter(None, faults), None)


def _find_fault(rollout: Rollout, expected: float | int | str, answer: Answer) -> str | None:
    if answer.status != 200:
        return f"found status {answer.status}, expected 200 ({answer.problem})"
    if answer.version != rollout.to_version:
        return f"found version {answer.version}, expected {rollout.to_version}"
    if not is_same(expected, answer.prediction):
        return f"found the answer {answer.prediction!r}, expected {expected!r} as of the file"
    return None


@contextmanager
def _aborting(control: RolloutControl, rollout: Rollout) -> Iterator[None]:
    """Ends the rollout on a breach, before it raises the error."""
    try:
        yield
    except BreachError as breach:
        abort(control, rollout.rollout_id, breach)
        raise type(breach)(f"{rollout.name}: {breach}") from breach


def _renewing(control: RolloutControl, rollout: Rollout) -> Callable[[float], None]:
    def pause(seconds: float) -> None:
        control.pause(seconds)
        renew(control, rollout)

    return pause


def _describe_success(rollout: Rollout) -> str:
    canary = rollout.figures.get("canary")
    if canary is None:
        return "the first version" if rollout.from_version is None else "its file is sound"
    seen = f"{canary['live']} live and {canary['replayed']} replayed requests"
    return f"its canary did as well as version {rollout.from_version} in {seen}"


def _skip(rollout: Rollout) -> str:
    return _say(rollout, f"found it {rollout.state} already, nothing to do here")


def _say(rollout: Rollout, text: str) -> str:
    logger.info("%s: %s", rollout.name, text)
    return text
