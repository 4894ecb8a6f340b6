"""The steps that take a registered version to every replica; each may be repeated and returns what it found.

A step takes its versions from the rollout's row and never from the aliases that it moves, so that a repeated one does
not take the new champion for the one before it. A breach ends the rollout within the step that finds it.
"""

from __future__ import annotations

import logging

from ml_code.datasets import load_catalog
from ml_code.gate.holdout_rows import HoldoutRows
from ml_code.signature import UNSIGNED
from ml_code.telemetry import span
from serving.comparison.analysis import Rules
from serving.comparison.replays import is_same
from serving.errors import (
    BreachError,
    FleetError,
    FrozenModelError,
    InconclusiveError,
    MovedByHandError,
    NoCanaryError,
    RolloutLostError,
)
from serving.fleet.gateway import Answer, Gateway, Variant, make_word
from serving.fleet.replicas import wait_for_challenger, wait_for_version
from serving.registry.names import CHALLENGER, CHAMPION
from serving.rollout.approval import (
    describe_success,
    refuse_forged,
    refuse_unapproved,
    refuse_unjudged,
    refuse_unsigned,
    sign_gate,
)
from serving.rollout.canary import SHARES, watch_canary
from serving.rollout.control import RolloutControl
from serving.rollout.held import HeldRollout
from serving.rollout.rows import MOVING, Rollout
from serving.rollout.validation import Candidate, validate

VERIFIED_ROWS = 5
VERIFY_SECONDS = 20.0
"""The gateway asks Docker's DNS every two seconds, and a replica's last connection may be a few seconds old."""

CANARY_SECONDS = 60.0
"""Longest wait for the canary pool: a download, and the time that a replica gives a file to open."""

logger = logging.getLogger("serving")


@span("validate_artifact")
def validate_artifact(control: RolloutControl, rollout_id: int, *, allow_schema_change: bool = False) -> str:
    """Checks the version's file before anything serves it; returns what it found.

    Raises:
        BreachError: it must not serve.
        RegistryError: MLflow or its store is away.
    """
    held = control.read_own(rollout_id)
    row = held.row
    if row.state in MOVING:
        return _skip(row)
    held.note(state="validating", reason="the file is opened and measured in a process of its own")
    tags = control.registry.read_tags(row.model, row.to_version) or {}
    with held.aborting():
        refuse_forged(row, tags)
        found = validate(
            Candidate(
                registry=control.registry,
                model=row.model,
                version=row.to_version,
                champion=row.from_version,
                limit_bytes=control.limit_bytes,
            ),
            dataset=load_catalog(control.catalog_dir).list_models()[row.model],
            allow_schema_change=allow_schema_change,
            renew=held.renew,
        )
    if tags.get("gate") == UNSIGNED:  # a person approves this file, and not one that replaces it until then
        with control.hold(rollout_id) as locked:
            sign_gate(locked, UNSIGNED)
    return _say(
        row,
        f"the file is sound: opens in {found.load_seconds:.2f} s, one row takes {found.one_row_ms:.2f} ms, 1,000 rows "
        f"{found.thousand_rows_ms:.1f} ms, {found.memory_mb:.0f} MB",
    )


@span("start_canary")
def start_canary(control: RolloutControl, rollout_id: int) -> str:
    """Serves the version from the canary pool, or has it predict there as a shadow.

    Raises:
        NoCanaryError: it is the first version ever, or there is no canary pool.
        RolloutLostError: the rollout has ended, or another run drives it.
    """
    with control.hold(rollout_id) as held:
        row = held.row
        if row.state in MOVING:
            return _skip(row)
        if row.from_version is None or not control.fleet.has_canary_pool:
            why = "it is the first version" if row.from_version is None else "there is no canary pool"
            raise NoCanaryError(f"{row.name}: {why}, so it goes straight to the replicas")
        # In this order: a challenger that another run left there must not answer, and this one few users at first.
        if row.alias == CHALLENGER:
            held.share_canary(SHARES[0])
        held.control.registry.move(row.model, row.alias, row.to_version)
        held.keep_canary_open()
        held.note(state="canary", reason="the canary pool fetches the version")
    return _say(row, f"the {row.alias} is version {row.to_version}")


@span("wait_for_canary")
def wait_for_canary(control: RolloutControl, rollout_id: int) -> str:
    """Waits until the canary pool answers with the version, or holds it as a shadow.

    Raises:
        BreachError: it refuses the version.
        InconclusiveError: it does not reach the version in time.
    """
    held = control.read_own(rollout_id)
    row, fleet = held.row, control.fleet
    if row.state in MOVING:
        return _skip(row)
    with held.aborting():
        try:
            replicas = wait_for_challenger(
                *(fleet, row.model, row.to_version, CANARY_SECONDS),
                alias=row.alias,
                pause=held.pause,
                clock=control.clock,
            )
        except FleetError as error:
            raise InconclusiveError(str(error)) from error
    return _say(row, f"the canary pool holds version {row.to_version}: {', '.join(replicas)}")


@span("analyse_canary")
def analyse_canary(control: RolloutControl, rollout_id: int, rules: Rules, window_seconds: float) -> str:
    """Compares the canary with the stable version, and ends the rollout on a breach.

    Raises:
        BreachError: the canary does worse than it may.
        InconclusiveError: too little was seen to tell.
    """
    held = control.read_own(rollout_id)
    if held.row.state in MOVING:
        return _skip(held.row)
    if held.row.kind == "shadow":
        return _say(held.row, "nobody gets its answers, so there are none to compare before labels come")
    held.renew()  # before a second try it may have closed automatically
    holdout = control.read_holdout(held.row.model, held.row.to_version)
    held.note(state="analysing", reason="the canary answers its share of the requests", figures={})
    with held.aborting():
        figures = watch_canary(held, rules, window_seconds, holdout)
    held.note(reason="the canary does as well as the stable version", figures=figures)
    return _say(held.row, f"the canary does as well as the stable version: {figures}")


@span("promote")
def promote(control: RolloutControl, rollout_id: int, *, is_asked_for: bool = False) -> str:
    """Makes the version the champion and the one before it `previous`, and closes the canary.

    Raises:
        BreachError: a person must approve the version, such as where the form asks for it, and has not.
        MovedByHandError: a person moved the champion meanwhile, which has priority.
        FrozenModelError: a person froze the model since the rollout began, and no person approved the version.
    """
    with control.hold(rollout_id) as held:
        row = held.row
        champion = held.control.registry.read(row.model).get(CHAMPION)
        if champion not in {row.from_version, row.to_version}:
            reason = f"the champion: found version {champion}, expected {row.from_version}; it was moved by hand"
            held.abort(reason, is_verdict=False)
            raise MovedByHandError(f"{row.name}: {reason}")
        _refuse_frozen(held)
        refuse_unsigned(held)
        refuse_unjudged(held)
        if row.state not in MOVING:
            refuse_unapproved(held, is_asked_for=is_asked_for)
        held.note(state="promoting", reason=_explain_promotion(row))
        held.move_aliases(held.row.reason)
        held.close_canary()
        held.note(state="verifying", reason="the replicas follow")
    return _say(row, f"the champion is version {row.to_version}")


@span("wait_for_fleet")
def wait_for_fleet(control: RolloutControl, rollout_id: int) -> list[str]:
    """Waits until every replica answers with the version; returns their addresses.

    Raises:
        BreachError: one of them refuses the version, so the version before serves again.
        InconclusiveError: they did not reach it in time; the version before serves again as well.
        FleetError: neither, and there is no version before.
    """
    held = control.read_own(rollout_id)
    row, fleet, seconds = held.row, control.fleet, control.timeout_seconds
    with held.aborting():
        try:
            return wait_for_version(fleet, row.model, row.to_version, seconds, pause=held.pause, clock=control.clock)
        except FleetError as error:
            if row.from_version is None:
                raise
            if refusals := fleet.read_refusals(row.model, row.to_version):
                raise BreachError(f"{error}; refused: {next(iter(refusals.values()))}") from error
            raise InconclusiveError(str(error)) from error


@span("verify_through_gateway")
def verify_through_gateway(control: RolloutControl, rollout_id: int) -> str:
    """Sends requests as a client does, on every way through the gateway, and ends the rollout.

    Raises:
        BreachError: it answers differently from its file; the version before serves again.
        InconclusiveError: no answer, or one of another version; the version before serves again as well.
    """
    found = control.rows.read(rollout_id)
    if found.state == "promoted" and found.owner == control.owner:  # by a try that was interrupted behind it
        return _say(found, f"version {found.to_version} was found to answer through the gateway")
    held = control.read_own(rollout_id)
    row = held.row
    holdout = control.read_holdout(row.model, row.to_version)
    word = make_word()
    held.mark_replays(word)
    gateway = control.gateway.marked(word)
    deadline = control.clock() + VERIFY_SECONDS
    while problem := _find_problem(held, gateway, holdout):
        if control.clock() > deadline:
            breach = type(problem)(f"{row.name}: through the gateway: {problem}")
            if row.from_version is not None:
                control.abort(rollout_id, breach)
            raise breach
        held.pause(1.0)
    with control.hold(rollout_id) as held:
        held.finish(describe_success(held.row))
    return _say(row, f"version {row.to_version} answers through the gateway")


@span("clean_up")
def clean_up(control: RolloutControl, rollout_id: int, reason: str) -> str:
    """Ends a rollout whose run failed without ending it, such as by an outage; not the version's fault."""
    try:
        with control.hold(rollout_id) as held:
            held.abort(reason, state="inconclusive", is_verdict=False)
    except RolloutLostError as error:
        return str(error)
    return _say(held.row, f"inconclusive: {reason}")


def _refuse_frozen(held: HeldRollout) -> None:
    """Refuses a model that was frozen meanwhile, unless a person approved it since or its aliases are being moved."""
    row = held.row
    freeze = held.control.log.find_freeze(row.model)
    if freeze is None or row.state in MOVING or freeze.moved_at <= row.started_at:
        return
    reason = f"frozen by {freeze.who} meanwhile ({freeze.why})"
    held.abort(reason, is_verdict=False)
    raise FrozenModelError(f"{row.name}: {reason}; `mlops unfreeze {row.model}` allows its rollout again")


def _find_problem(held: HeldRollout, gateway: Gateway, holdout: HoldoutRows) -> BreachError | None:
    """The first missing or wrong answer, on any way through the gateway; None without one."""
    variants: list[Variant | None] = [None, "stable", "canary"]
    for variant in variants:
        answers = gateway.predict(held.row.model, list(holdout.rows[:VERIFIED_ROWS]), variant)
        for expected, answer in zip(holdout.answers, answers, strict=False):
            if fault := _find_fault(held.row, expected, answer, holdout.scale):
                return fault
    return None


def _find_fault(rollout: Rollout, expected: float | int | str, answer: Answer, scale: float) -> BreachError | None:
    if answer.status != 200:
        # Only a version makes a 500; a gateway or a replica that is away has other words.
        kind = BreachError if answer.status == 500 else InconclusiveError
        return kind(f"found status {answer.status}, expected 200 ({answer.problem})")
    if answer.version != rollout.to_version:
        return InconclusiveError(f"found version {answer.version}, expected {rollout.to_version}")
    if not is_same(expected, answer.prediction, scale):
        return BreachError(f"found the answer {answer.prediction!r}, expected {expected!r} as of the file")
    return None


def _explain_promotion(rollout: Rollout) -> str:
    is_explained = rollout.state == "promoting" and rollout.reason  # by the approval, or an interrupted try
    return rollout.reason if is_explained else describe_success(rollout)


def _skip(rollout: Rollout) -> str:
    return _say(rollout, f"found it {rollout.state} already, nothing to do here")


def _say(rollout: Rollout, text: str) -> str:
    logger.info("%s: %s", rollout.name, text)
    return text
