"""The steps of an A/B test: a version answers the canary pool's users until labels tell it from the champion.

It is a rollout's row of the kind `ab`, so a model has one or the other. The steps until the canary answers, and the
judgement of failures and latency, are a rollout's; what differs is what decides: the loss of labelled live answers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from ml_code.datasets import load_catalog, load_dataset
from ml_code.gate.decision import Decision
from serving.comparison.analysis import Rules
from serving.comparison.experiment import Comparison, Losses, Plan, compare, estimate_rows
from serving.errors import InconclusiveError, NoCandidateError, UnderWayError
from serving.rollout.canary import watch_canary
from serving.rollout.control import RolloutControl
from serving.rollout.held import HeldRollout
from serving.rollout.plan import choose_version, settle
from serving.rollout.rollback import note_moves_by_hand
from serving.rollout.rows import Kind, Rollout

LEASE_SECONDS = 1800.0
"""Longer than two pauses between looks: past it the canary pool answers with the champion again."""

GUARD = Rules(minimum_requests=50)
GUARD_SECONDS = 4.0
"""At each look the canary is judged for this long, by replayed rows and by what people met meanwhile."""

FEWEST_LABELLED = 100
"""Labelled rows of the champion from which on the spread of its loss is known."""

LEAST_VARIANCE = 0.01
"""Of a loss of 0 or 1, for a champion that was hardly ever wrong on its holdout."""

logger = logging.getLogger("serving")


@dataclass(frozen=True, slots=True)
class Terms:
    """What an A/B test or a shadow shall find out.

    Args:
        margin: smallest difference of the mean loss that matters, in the unit of the loss.
        share: of the users whom the canary pool answers, above 0; of an A/B test below 1.
        minimum_rows: labelled rows before a verdict ends it: of both versions together, or that a shadow predicted too.
        maximum_hours: after which it ends without one.
    """

    margin: float
    share: float
    minimum_rows: int = 1000
    maximum_hours: float = 168.0


@dataclass(frozen=True, slots=True)
class Labelled:
    """The losses of the labelled rows that both versions have answered since the test began."""

    champion: Losses
    challenger: Losses


type ReadLabelled = Callable[[Rollout], Labelled]


def read_terms(control: RolloutControl, canary_percent: int, form: Mapping[str, Any]) -> Terms:
    """The terms of the form, with the gate's largest regression where it names no margin.

    Raises:
        NoCandidateError: no difference would matter, or one of the versions would answer nobody.
    """
    model = form["model"]
    dataset = load_dataset(load_catalog(control.catalog_dir).list_models()[model], control.catalog_dir)
    margin = form.get("margin") or dataset.gate.largest_regression
    if margin <= 0:
        raise NoCandidateError(f"{model}: margin: found none, and a largest regression of 0; expected a number above 0")
    most, why = (100, "a shadow of its requests") if form.get("mode") == "shadow" else (99, "two groups of users")
    if not 0 < canary_percent <= most:
        raise NoCandidateError(
            f"{model}: CANARY_PERCENT: found {canary_percent}, expected 1 to {most} for {why}; change .env, then "
            "`make up`"
        )
    return Terms(margin, canary_percent / 100, form["minimum_rows"], form["maximum_hours"])


def describe_need(control: RolloutControl, row: Rollout, terms: Terms) -> str:
    """How many labelled rows tell a difference that matters, as far as that is known before the first label."""
    text = (control.registry.read_tags(row.model, row.from_version or "") or {}).get("gate.decision")
    decision = Decision.from_json(text) if text else None
    if decision is None or decision.metric not in {"accuracy", "balanced_accuracy"}:
        return f"how many labelled rows it needs is known after {FEWEST_LABELLED} of them"
    variance = max(decision.score * (1 - decision.score), LEAST_VARIANCE)
    needed = estimate_rows(Plan(terms.margin, variance, terms.share))
    return f"about {needed} labelled rows tell a difference of {terms.margin:g}"


def open_test(control: RolloutControl, model: str, version: str | None = None, kind: Kind = "ab") -> Rollout:
    """Makes the row of an A/B test or of a shadow, or takes over an interrupted one of this run.

    Raises:
        NoCandidateError: there is no champion, no canary pool, or no version to test.
        UnderWayError: the model has a rollout, a rollback or another test under way.
    """
    if not control.fleet.has_canary_pool:
        raise NoCandidateError(f"{model}: found no canary pool, expected one that answers with the tested version")
    with hold_long(control).lock(model) as locked:
        active = locked.find_active(model)
        if active is not None and active.row.owner == control.owner and active.row.kind == kind:
            active.take_over()
            return active.row
        if active is not None and not active.row.is_expired:
            raise UnderWayError(
                f"{active.row.name}: found it {active.row.state} by {active.row.owner}, expected nothing under way; "
                "start the test again when it has ended"
            )
        if active is not None:
            settle(active)
        note_moves_by_hand(locked, model)
        choice = choose_version(locked, model, version or None)
        if choice.champion is None:
            raise NoCandidateError(
                f"{model}: found no champion to compare with, expected one; roll a version out first"
            )
        gate = (locked.registry.read_tags(model, choice.target) or {}).get("gate")
        if gate != "passed":  # nobody is asked before a test, which lasts for days
            raise NoCandidateError(
                f"{model}: version {choice.target}: found gate={gate}, expected passed; a person approves it in a "
                "rollout"
            )
        opened = locked.open(model, kind, from_version=choice.champion, to_version=choice.target, state="validating")
        opened.tell()
        return opened.row


def look(control: RolloutControl, rollout_id: int, terms: Terms, read_labelled: ReadLabelled) -> bool:
    """Judges the canary, compares the losses, and writes both down; returns whether the test is over.

    Args:
        control: the connections.
        rollout_id: the number of the test's row.
        terms: of the test.
        read_labelled: reads what is labelled so far.

    Raises:
        BreachError: the version does worse than a canary may, which ends the test.
        RolloutLostError: the test has ended, or another run drives it.
    """
    held = hold_long(control).read_own(rollout_id)
    before = held.row.figures.get("experiment", {})
    held.note(state="comparing")
    is_over = held.row.updated_at >= held.row.started_at + timedelta(hours=terms.maximum_hours)
    with held.aborting():
        try:
            canary = _guard(held)
        except InconclusiveError as reason:  # such as a replica that restarts, which tells nothing about the version
            logger.warning("%s: not judged at this look: %s", held.row.name, reason)
            canary = {}
    found, variance = _compare(before.get("variance"), terms, read_labelled(held.row))
    held.note(reason=describe(found), figures={**canary, "experiment": {**show(found), "variance": variance}})
    logger.info("%s: %s", held.row.name, held.row.reason)
    return is_told(found, terms) or is_over


def conclude(control: RolloutControl, rollout_id: int) -> str:
    """Ends the test and withdraws the version, whatever the verdict; returns the verdict.

    A version that is worse is never picked automatically again. Any other waits for a request by its number.
    """
    found = control.rows.read(rollout_id)
    verdict = str(found.figures.get("experiment", {}).get("verdict"))
    if found.ended_at is not None and found.owner == control.owner:  # by a try that was interrupted behind it
        return verdict
    with control.hold(rollout_id) as held:
        if verdict == "worse":
            held.abort(held.row.reason)
        else:
            held.abort(held.row.reason, state="compared")
    return verdict


def describe(found: Comparison | None) -> str:
    """What the test shows so far, in one sentence."""
    if found is None:
        return f"undecided: fewer than {FEWEST_LABELLED} rows of the champion have a label"
    return describe_interval(found, f"{found.units} users in the smaller group")


def describe_interval(found: Comparison, users: str) -> str:
    """The verdict with its interval, and the rows and users that it is of."""
    between = f"between {found.low:+.4f} and {found.high:+.4f}" if found.is_known else "not known yet"
    return (
        f"{found.verdict}: the difference of the mean loss is {between}, after {found.rows} labelled rows of {users}; "
        f"about {found.rows_needed} rows tell a difference that matters"
    )


def is_told(found: Comparison | None, terms: Terms) -> bool:
    """Whether there is a verdict, of as many rows as were asked for."""
    return found is not None and found.verdict != "undecided" and found.rows >= terms.minimum_rows


def show(found: Comparison | None) -> Mapping[str, Any]:
    """The figures of a comparison as they are stored."""
    return found.describe() if found else {"verdict": "undecided", "rows": 0}


def hold_long(control: RolloutControl) -> RolloutControl:
    """The connections with a lease that lasts from one look to the next."""
    return replace(control, lease_seconds=LEASE_SECONDS)


def _guard(held: HeldRollout) -> Mapping[str, Any]:
    holdout = held.control.read_holdout(held.row.model, held.row.to_version)
    return watch_canary(held, GUARD, GUARD_SECONDS, holdout, shares=(100,))


def _compare(variance: float | None, terms: Terms, labelled: Labelled) -> tuple[Comparison | None, float | None]:
    """Compares by the spread of the loss that was known first: the interval holds for one that is fixed."""
    champion = labelled.champion.values
    if variance is None and len(champion) < FEWEST_LABELLED:
        return None, None
    fixed = max(float(champion.var()), 1e-9) if variance is None else variance
    return compare(labelled.champion, labelled.challenger, Plan(terms.margin, fixed, terms.share)), fixed
