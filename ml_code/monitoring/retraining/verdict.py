"""The gate's verdict on a model that was trained after drift; pure: measurements in, a decision out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ml_code.dataset_rules import LOWER_IS_BETTER, Gate
from ml_code.gate.decision import ROUNDING, Decision, apply_gate
from ml_code.gate.evidence import LEAST_ROWS, Comparison, Evidence


@dataclass(frozen=True, slots=True)
class OldRows:
    """Challenger and champion on held-out rows from before the drift; `difference` is positive if it is better.

    `kind` names the rows in a reason.
    """

    score: float
    champion_score: float
    difference: float
    rows: int
    kind: str = "older ones"


def choose_guard(sides: Sequence[OldRows]) -> OldRows | None:
    """The side on which the challenger is worse; None if all sides together are too few rows to guard anything."""
    if sum(side.rows for side in sides) < LEAST_ROWS:
        return None
    return min(sides, key=lambda side: -math.inf if math.isnan(side.difference) else side.difference)


def judge_drift(
    dataset: str, rules: Gate, evidence: Evidence, newest: Comparison | None, old: OldRows | None, *, unattended: bool
) -> Decision:
    """Judges the challenger of a retraining.

    - Not better than the champion on the newest rows by more than 1 SE: rejected.
    - Better there, and on the old rows not worse than the largest regression: promoted.
    - Better there, but worse on the old rows: a changed world and poisoned labels look alike, so a person decides.
    - Better there, but fewer than ten older rows compare: a person decides, because nothing guards what was learned.
    - Better there, but below the catalog's threshold: a person decides, because the champion is even worse.

    Args:
        dataset: name of the dataset, for messages.
        rules: gate of the catalog.
        evidence: scores of challenger and baselines on the newest held-out rows.
        newest: the comparison with the champion there; None if there is no champion.
        old: both on the old held-out rows; None if too few compare.
        unattended: whether a model that is worse on the old rows, or not measured there, needs no person.
    """
    is_low = _is_below(rules, evidence.score)
    lenient = rules.model_copy(update={"threshold": evidence.score}) if is_low else rules
    decision = replace(
        apply_gate(dataset, lenient, evidence, newest, trigger="drift"),
        threshold=rules.threshold,
        old_score=old.score if old else None,
        old_difference=old.difference if old else None,
        old_rows=old.rows if old else None,
    )
    if not decision.is_promoted:
        return decision
    facts = _describe(decision, newest, old)
    doubts = [
        *([decision.reason] if decision.needs_approval else []),
        *([f"{decision.score:.4g} misses the threshold {rules.threshold:.4g}"] if is_low else []),
    ]
    is_broken = old is not None and _breaks_guard(rules, old)
    if is_broken and not unattended:
        doubts.append("a changed world and wrong labels look alike")
    if old is None and not decision.needs_approval and not unattended:
        doubts.append("too few older held-out rows compare, so nothing guards what was learned before")
    if is_broken:  # the best champion of the old world is no measure for later models
        decision = replace(decision, best_version=None, best_score=None)
    return replace(decision, needs_approval=bool(doubts), reason="; ".join([facts, *doubts]))


def _breaks_guard(rules: Gate, old: OldRows) -> bool:
    """Whether it loses more of the old rows than the largest regression; noise is no excuse here."""
    return not old.difference >= -rules.largest_regression - ROUNDING  # true for NaN


def _is_below(rules: Gate, score: float) -> bool:
    if not math.isfinite(score):
        return False
    return score > rules.threshold if rules.metric in LOWER_IS_BETTER else score < rules.threshold


def _describe(decision: Decision, newest: Comparison | None, old: OldRows | None) -> str:
    """Both figures in words."""
    if newest is None:
        return f"{decision.score:.4g} on {decision.holdout_rows} newest held-out rows, the first model"
    if newest.champion_score is None:
        return f"{decision.score:.4g} on {decision.holdout_rows} newest held-out rows"
    text = (
        f"{decision.score:.4g} against {newest.champion_score:.4g} of version {newest.champion_version} "
        f"on {decision.holdout_rows} newest held-out rows"
    )
    return text if old is None else f"{text}, {old.score:.4g} against {old.champion_score:.4g} on {old.rows} {old.kind}"
