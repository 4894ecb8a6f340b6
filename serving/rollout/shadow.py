"""The looks at a shadow: a version predicts the rows that the champion answers, until labels tell them apart.

It is a rollout's row of the kind `shadow`, opened and concluded as an A/B test. Both versions have predicted each row,
so it needs a fraction of the labelled rows, and no user gets what the version predicts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ml_code.gate.decision import Decision
from serving.comparison.agreement import Agreement
from serving.comparison.experiment import Comparison, Losses, Plan, compare_pairs, estimate_rows
from serving.errors import BreachError, InconclusiveError, MovedByHandError
from serving.fleet.replicas import Challenger
from serving.registry.names import CHAMPION, SHADOW
from serving.rollout.ab_test import (
    FEWEST_LABELLED,
    GUARD,
    LEAST_VARIANCE,
    Terms,
    describe_interval,
    hold_long,
    is_told,
    show,
)
from serving.rollout.control import RolloutControl
from serving.rollout.held import HeldRollout
from serving.rollout.rows import Rollout

PAIRED_METRICS = {"accuracy": LEAST_VARIANCE, "balanced_accuracy": LEAST_VARIANCE, "mae": 1e-9, "r2": 1e-9}
"""Metrics whose difference is the mean of the rows' differences, and the least variance of one of these."""

logger = logging.getLogger("serving")


@dataclass(frozen=True, slots=True)
class Pairs:
    """The rows that both versions have predicted since the shadow was opened.

    Args:
        differences: the version's loss of each labelled row less the champion's.
        step: smallest difference but 0 that a row may have: 1 for a class, 0 for a number.
        agreement: of all rows, with a label or without; None before the first.
    """

    differences: Losses
    step: float
    agreement: Agreement | None


type ReadPairs = Callable[[Rollout], Pairs]


def describe_need(control: RolloutControl, row: Rollout, terms: Terms) -> str:
    """How many labelled rows tell a difference that matters, by how the versions differ on the gate's holdout."""
    text = (control.registry.read_tags(row.model, row.to_version) or {}).get("gate.decision")
    decision = Decision.from_json(text) if text else None
    if (
        decision is None
        or decision.standard_error is None
        or decision.champion_version != row.from_version
        or decision.metric not in PAIRED_METRICS
    ):
        return f"how many labelled rows it needs is known after {FEWEST_LABELLED} of them"
    variance = max(decision.standard_error**2 * decision.holdout_rows, PAIRED_METRICS[decision.metric])
    needed = max(FEWEST_LABELLED, estimate_rows(Plan(terms.margin, variance, None)))
    return f"about {needed} labelled rows tell a difference of {terms.margin:g}"


def look(control: RolloutControl, rollout_id: int, terms: Terms, read_pairs: ReadPairs) -> bool:
    """Compares the predictions and the losses, and writes both down; returns whether the shadow is over.

    Args:
        control: the connections.
        rollout_id: the number of the shadow's row.
        terms: of the comparison.
        read_pairs: reads what both versions have predicted so far.

    Raises:
        BreachError: the version fails rows that the champion answers, or the canary pool refuses it.
        InconclusiveError: somebody withdrew or replaced the version.
        MovedByHandError: somebody moved the champion.
        RolloutLostError: the shadow has ended, or another run drives it.
    """
    held = hold_long(control).read_own(rollout_id)
    before = held.row.figures.get("experiment", {})
    held.note(state="comparing")
    is_over = held.row.updated_at >= held.row.started_at + timedelta(hours=terms.maximum_hours)
    with held.aborting():
        seen = _guard(held)
    held.renew()
    pairs = read_pairs(held.row)
    found, variance = _compare(before.get("variance"), terms, pairs)
    alike = pairs.agreement.describe() if pairs.agreement else {}
    figures = {"shadow": seen, "agreement": alike, "experiment": {**show(found), "variance": variance}}
    held.note(reason=describe(found, pairs.agreement), figures=figures)
    logger.info("%s: %s", held.row.name, held.row.reason)
    return is_told(found, terms) or is_over


def describe(found: Comparison | None, agreement: Agreement | None) -> str:
    """What the shadow shows so far, in one sentence."""
    if found is None:
        verdict = f"undecided: fewer than {FEWEST_LABELLED} rows that both versions predicted have a label"
    else:
        verdict = describe_interval(found, f"{found.units} users")
    if agreement is None:
        return verdict
    psi = "" if agreement.psi is None else f", and the index of their scores is {agreement.psi:.3f}"
    return f"{verdict}; {agreement.alike:.1%} of {agreement.rows} rows are predicted alike{psi}"


def _compare(variance: float | None, terms: Terms, pairs: Pairs) -> tuple[Comparison | None, float | None]:
    """Compares by the spread of the differences that was known first: the interval holds for one that is fixed."""
    differences = pairs.differences.values
    if variance is None and len(differences) < FEWEST_LABELLED:
        return None, None
    fixed = max(float(differences.var()), LEAST_VARIANCE * pairs.step, 1e-9) if variance is None else variance
    return compare_pairs(pairs.differences, Plan(terms.margin, fixed, None), step=pairs.step), fixed


def _guard(held: HeldRollout) -> Mapping[str, Any]:
    """The rows that the canary pool's shadows have predicted; raises where the shadow must not go on."""
    row, control = held.row, held.control
    aliases = control.registry.read(row.model)
    if aliases.get(CHAMPION) != row.from_version:
        raise MovedByHandError(
            f"the champion: found version {aliases.get(CHAMPION)}, expected {row.from_version}; it was moved by hand"
        )
    if aliases.get(SHADOW) != row.to_version:
        raise InconclusiveError(
            f"the alias {SHADOW}: found {aliases.get(SHADOW) or 'none'}, expected version {row.to_version}; it was "
            "withdrawn or replaced meanwhile: start the shadow again"
        )
    shadows = list(control.fleet.read_challengers(row.model, SHADOW).values())
    for shadow in shadows:
        if shadow.refused_version == row.to_version:
            raise BreachError(f"the canary pool refuses version {row.to_version}: {shadow.reason}")
    present = [shadow for shadow in shadows if shadow.version == row.to_version]
    if not present:  # such as a replica that restarts, which tells nothing about the version
        logger.warning("%s: found the version on no replica of the canary pool at this look", row.name)
    _refuse_failures(present)
    return {"rows": sum(shadow.rows for shadow in present), "failed": sum(shadow.failed for shadow in present)}


def _refuse_failures(shadows: list[Challenger]) -> None:
    failed = sum(shadow.failed for shadow in shadows)
    rows = failed + sum(shadow.rows for shadow in shadows)
    if failed > max(GUARD.tolerated_failures, GUARD.success_drop * rows):
        raise BreachError(f"errors: found {failed} of {rows} rows that it does not predict and the champion answers")
