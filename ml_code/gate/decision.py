"""Decides whether a model may be registered; pure: metrics in, a decision out."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Literal

from ml_code.dataset_rules import LOWER_IS_BETTER, Gate
from ml_code.gate.evidence import LEAST_ROWS, Comparison, Evidence, count_needed_rows, show_names, widen_margin

WEAK_HOLDOUT_ROWS = 200
"""With fewer rows the decision carries a warning: a difference of a few rows is chance."""

ROUNDING = 1e-9
"""Two scores with a smaller difference count as equal: float sums differ by that much."""

type Trigger = Literal["manual", "data", "drift"]
type Outcome = Literal["promote", "reject"]


@dataclass(frozen=True, slots=True)
class Decision:
    """The gate's outcome, its reason, and the scores of all models.

    `best_version` is the best champion until then on this holdout; None if a new line of models starts here.
    `forced_by` is the person whose form forced it; another one must approve its rollout. The `old_` numbers are those
    of a retraining after drift: score and difference on the held-out rows from before the drift.
    """

    dataset: str
    outcome: Outcome
    reason: str
    metric: str
    score: float
    threshold: float
    holdout_rows: int
    trigger: Trigger
    champion_version: str | None = None
    champion_score: float | None = None
    difference: float | None = None
    standard_error: float | None = None
    warning: str | None = None
    needs_approval: bool = False
    is_forced: bool = False
    baseline_dummy: float | None = None
    baseline_linear: float | None = None
    best_version: str | None = None
    best_score: float | None = None
    tries: int = 1
    forced_by: str | None = None
    old_score: float | None = None
    old_difference: float | None = None
    old_rows: int | None = None

    @property
    def is_promoted(self) -> bool:
        """Whether the model may be registered."""
        return self.outcome == "promote"

    def to_json(self) -> str:
        """The JSON text on the run and on the version."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Decision:
        """Reads the JSON text back; a newer program may have written further fields."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in json.loads(text).items() if name in known})


def apply_gate(
    dataset: str,
    rules: Gate,
    evidence: Evidence,
    comparison: Comparison | None,
    *,
    trigger: Trigger = "manual",
    force: bool = False,
) -> Decision:
    """Judges a challenger.

    Args:
        dataset: name of the dataset, for messages.
        rules: gate of the catalog.
        evidence: scores of challenger and baselines on the holdout.
        comparison: with the champion; None if there is no champion.
        trigger: cause of the run.
        force: promotes in any case; the decision records it.
    """
    refusal = _find_refusal(rules, evidence, comparison, trigger)
    is_forced = force and refusal is not None
    doubt = _find_doubt(rules, evidence, comparison)
    best_version, best_score = _find_best(comparison) if not is_forced else (None, None)
    return Decision(
        dataset=dataset,
        outcome="promote" if refusal is None or force else "reject",
        reason=_explain(rules, evidence, comparison, refusal, doubt, is_forced=is_forced),
        metric=rules.metric,
        score=evidence.score,
        threshold=rules.threshold,
        holdout_rows=evidence.holdout_rows,
        trigger=trigger,
        champion_version=comparison.champion_version if comparison else None,
        champion_score=comparison.champion_score if comparison else None,
        difference=comparison.difference if comparison else None,
        standard_error=comparison.standard_error if comparison else None,
        warning=_warn(rules, evidence, comparison),
        needs_approval=doubt is not None and not force,
        is_forced=is_forced,
        baseline_dummy=evidence.dummy.score,
        baseline_linear=evidence.linear_score,
        best_version=best_version,
        best_score=best_score,
        tries=evidence.tries,
    )


def verdict(decision: Decision) -> str:
    """Summary of a decision, for a label.

    >>> verdict(decision)
    'iris: rejected, 0.93 < 0.97'
    """
    word = "rejected"
    if decision.is_promoted:
        word = "waits for a person" if decision.needs_approval else "promoted"
    return f"{decision.dataset}: {word}, {decision.reason}"


def _find_refusal(rules: Gate, evidence: Evidence, comparison: Comparison | None, trigger: Trigger) -> str | None:
    """The reason to reject; None if there is none."""
    score = evidence.score
    if not _reaches(rules, score, rules.threshold):
        return f"{score:.4g} {_worse(rules)} {rules.threshold:.4g} ({rules.metric} against the threshold)"
    if (equal := _find_constant(evidence)) or (equal := _find_low_slice(rules, evidence)):
        return equal
    if comparison is None or comparison.problem is not None:
        return None
    if comparison.schema_change is not None:
        return comparison.schema_change
    return _find_loss(rules, evidence, comparison, trigger) or _find_old_loss(rules, evidence, comparison)


def _find_constant(evidence: Evidence) -> str | None:
    """How the challenger fails to beat a constant; None if it beats it."""
    needed = widen_margin(evidence.tries) * evidence.dummy.standard_error
    if evidence.dummy.difference > needed + ROUNDING:  # false for NaN
        return None
    pair = f"{evidence.score:.4g} against {evidence.dummy.score:.4g} of a constant"
    return f"{pair}, not better by more than {needed:.2g}"


def _find_low_slice(rules: Gate, evidence: Evidence) -> str | None:
    low = evidence.low_slice
    if rules.slice_floor is None or low is None or _reaches(rules, low.score, rules.slice_floor):
        return None
    return f"{low.score:.4g} {_worse(rules)} {rules.slice_floor:.4g} in the slice {low.name} ({low.rows} rows)"


def _find_loss(rules: Gate, evidence: Evidence, comparison: Comparison, trigger: Trigger) -> str | None:
    """How the challenger loses to the champion; None if it does not.

    On data that the champion has seen, the challenger must win. On new data it must not lose. A loss counts only if
    it exceeds both the noise of the holdout and the largest regression.
    """
    if comparison.champion_score is None or comparison.difference is None or comparison.standard_error is None:
        return f"the champion, version {comparison.champion_version}, was not measured"
    # Each comparison below is false for NaN, so a loss would go unnoticed.
    if not math.isfinite(comparison.champion_score + comparison.difference + comparison.standard_error):
        return f"its difference to the champion, version {comparison.champion_version}, is not a number"
    pair = f"{evidence.score:.4g} against {comparison.champion_score:.4g} of version {comparison.champion_version}"
    if trigger == "drift" or comparison.has_seen_data:
        needed = max(widen_margin(evidence.tries) * comparison.standard_error, rules.minimum_improvement)
        is_won = comparison.difference > needed + ROUNDING
        among = f" (model {evidence.tries} on these rows)" if evidence.tries > 1 else ""
        return None if is_won else f"{pair}, not better by more than {needed:.2g}{among}"
    allowed = max(comparison.standard_error, rules.largest_regression)
    is_lost = comparison.difference < -allowed - ROUNDING
    return f"{pair}, worse by more than {allowed:.2g}" if is_lost else None


def _find_old_loss(rules: Gate, evidence: Evidence, comparison: Comparison) -> str | None:
    """How the challenger loses to the best champion before, so that small losses do not add up; None if it does not."""
    best = comparison.best
    if best is None:
        return None
    allowed = max(best.standard_error, rules.largest_regression)
    if best.difference >= -allowed - ROUNDING:  # false for NaN
        return None
    pair = f"{evidence.score:.4g} against {best.score:.4g} of version {comparison.best_version}"
    return f"{pair}, the best champion so far, worse by more than {allowed:.2g}"


def _find_doubt(rules: Gate, evidence: Evidence, comparison: Comparison | None) -> str | None:
    """Why a person must decide; None if the gate can."""
    needed = count_needed_rows(rules.metric, rules.threshold)
    rows = evidence.holdout_rows if evidence.effective_rows is None else evidence.effective_rows
    if comparison is not None and comparison.problem is not None:
        return f"not comparable with version {comparison.champion_version}: {comparison.problem}"
    if rows < needed:
        weighed = "" if evidence.effective_rows in {None, evidence.holdout_rows} else f" that count as {rows:.0f}"
        return f"too small a holdout to tell: {evidence.holdout_rows} rows{weighed}, needed {needed}"
    groups = evidence.holdout_groups
    if groups is not None and groups < LEAST_ROWS:
        return f"too small a holdout to tell: {evidence.holdout_rows} rows of {groups} groups, needed {LEAST_ROWS}"
    return None


def _find_best(comparison: Comparison | None) -> tuple[str | None, float | None]:
    """Version and score of the best champion on this holdout."""
    if comparison is None or comparison.problem is not None or comparison.schema_change is not None:
        return None, None
    if comparison.best is not None:
        return comparison.best_version, comparison.best.score
    return comparison.champion_version, comparison.champion_score


def _reaches(rules: Gate, score: float, bound: float) -> bool:
    return score <= bound if rules.metric in LOWER_IS_BETTER else score >= bound


def _worse(rules: Gate) -> str:
    return ">" if rules.metric in LOWER_IS_BETTER else "<"


def _explain(
    rules: Gate,
    evidence: Evidence,
    comparison: Comparison | None,
    refusal: str | None,
    doubt: str | None,
    *,
    is_forced: bool,
) -> str:
    if refusal is not None:
        return f"forced although {refusal}" if is_forced else refusal
    sign = "<=" if rules.metric in LOWER_IS_BETTER else ">="
    passed = f"{evidence.score:.4g} {sign} {rules.threshold:.4g}"
    if doubt is not None:
        return f"{passed}, {doubt}"
    if comparison is None:
        return f"{passed}, the first model"
    return f"{passed}, {comparison.difference:+.2g} against version {comparison.champion_version}"


def _warn(rules: Gate, evidence: Evidence, comparison: Comparison | None) -> str | None:
    warnings = []
    if (rows := evidence.holdout_rows) < WEAK_HOLDOUT_ROWS:
        error = comparison.standard_error if comparison else None
        known = f", and the difference has a standard error of {error:.2g}" if error is not None else ""
        warnings.append(f"weak: {rows} holdout rows, of which each counts for {1 / max(rows, 1):.1%}{known}")
    if evidence.unseen_classes:
        warnings.append(f"no row of {show_names(evidence.unseen_classes)} is held out, so it was not measured")
    linear = evidence.linear_score
    if linear is not None and linear != evidence.score and _reaches(rules, linear, evidence.score):
        warnings.append(f"a linear model is as good: {linear:.4g}")
    return "; ".join(warnings) or None
