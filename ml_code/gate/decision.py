"""Decides whether a model may be registered; pure: metrics in, a decision out."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Literal

from ml_code.datasets import LOWER_IS_BETTER, Gate

WEAK_HOLDOUT_ROWS = 200
"""With fewer rows the decision carries a warning: a difference of a few rows is chance."""

ROUNDING = 1e-9
"""Two scores with a smaller difference count as equal: float sums differ by that much."""

type Trigger = Literal["manual", "data", "drift"]
type Outcome = Literal["promote", "reject"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Champion and challenger on the same holdout.

    `difference` is positive if the challenger is better; `standard_error` is its bootstrap standard error. `problem`
    is the reason why the two do not compare; then the numbers are None.
    """

    champion_version: str
    champion_score: float | None = None
    difference: float | None = None
    standard_error: float | None = None
    has_seen_data: bool = False
    has_other_schema: bool = False
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The gate's outcome, its reason, and the scores of both models."""

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

    @property
    def is_promoted(self) -> bool:
        """Whether the model may be registered."""
        return self.outcome == "promote"

    def to_json(self) -> str:
        """The JSON text on the run and on the version."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Decision:
        """Reads the JSON text back."""
        return cls(**json.loads(text))


def apply_gate(
    dataset: str,
    rules: Gate,
    score: float,
    holdout_rows: int,
    comparison: Comparison | None,
    *,
    trigger: Trigger = "manual",
    force: bool = False,
) -> Decision:
    """Judges a challenger.

    Args:
        dataset: name of the dataset, for messages.
        rules: gate of the catalog.
        score: score of the challenger on the holdout.
        holdout_rows: number of rows of the holdout.
        comparison: with the champion; None if there is no champion.
        trigger: cause of the run.
        force: promotes in any case; the decision records it.
    """
    refusal = _find_refusal(rules, score, comparison, trigger)
    is_forced = force and refusal is not None
    is_compared = comparison is not None and comparison.problem is None
    return Decision(
        dataset=dataset,
        outcome="promote" if refusal is None or force else "reject",
        reason=_explain(rules, score, comparison, refusal, is_forced=is_forced),
        metric=rules.metric,
        score=score,
        threshold=rules.threshold,
        holdout_rows=holdout_rows,
        trigger=trigger,
        champion_version=comparison.champion_version if comparison else None,
        champion_score=comparison.champion_score if comparison else None,
        difference=comparison.difference if comparison else None,
        standard_error=comparison.standard_error if comparison else None,
        warning=_warn(holdout_rows, comparison),
        needs_approval=comparison is not None and not is_compared and not force,
        is_forced=is_forced,
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


def _find_refusal(rules: Gate, score: float, comparison: Comparison | None, trigger: Trigger) -> str | None:
    """The reason to reject; None if there is none."""
    if not _passes(rules, score):
        return f"{score:.4g} {_worse(rules)} {rules.threshold:.4g} ({rules.metric} against the threshold)"
    if comparison is None or comparison.problem is not None:
        return None
    if comparison.has_other_schema:
        return f"it reads other columns than the champion, version {comparison.champion_version}"
    return _find_loss(rules, score, comparison, trigger)


def _find_loss(rules: Gate, score: float, comparison: Comparison, trigger: Trigger) -> str | None:
    """How the challenger loses to the champion; None if it does not.

    On data that the champion has seen, the challenger must win. On new data it must not lose. A loss counts only if
    it exceeds both the noise of the holdout and the largest regression.
    """
    if comparison.champion_score is None or comparison.difference is None or comparison.standard_error is None:
        return f"the champion, version {comparison.champion_version}, was not measured"
    # Each comparison below is false for NaN, so a loss would go unnoticed.
    if not math.isfinite(comparison.champion_score + comparison.difference + comparison.standard_error):
        return f"its difference to the champion, version {comparison.champion_version}, is not a number"
    pair = f"{score:.4g} against {comparison.champion_score:.4g} of version {comparison.champion_version}"
    if trigger == "drift" or comparison.has_seen_data:
        needed = max(comparison.standard_error, rules.minimum_improvement)
        is_won = comparison.difference > needed + ROUNDING
        return None if is_won else f"{pair}, not better by more than {needed:.2g}"
    allowed = max(comparison.standard_error, rules.largest_regression)
    is_lost = comparison.difference < -allowed - ROUNDING
    return f"{pair}, worse by more than {allowed:.2g}" if is_lost else None


def _passes(rules: Gate, score: float) -> bool:
    if rules.metric in LOWER_IS_BETTER:
        return score <= rules.threshold
    return score >= rules.threshold


def _worse(rules: Gate) -> str:
    return ">" if rules.metric in LOWER_IS_BETTER else "<"


def _explain(rules: Gate, score: float, comparison: Comparison | None, refusal: str | None, *, is_forced: bool) -> str:
    if refusal is not None:
        return f"forced although {refusal}" if is_forced else refusal
    sign = "<=" if rules.metric in LOWER_IS_BETTER else ">="
    passed = f"{score:.4g} {sign} {rules.threshold:.4g}"
    if comparison is None:
        return f"{passed}, the first model"
    if comparison.problem is not None:
        return f"{passed}, not comparable with version {comparison.champion_version}: {comparison.problem}"
    return f"{passed}, {comparison.difference:+.2g} against version {comparison.champion_version}"


def _warn(holdout_rows: int, comparison: Comparison | None) -> str | None:
    if holdout_rows >= WEAK_HOLDOUT_ROWS:
        return None
    error = comparison.standard_error if comparison else None
    known = f", and the difference has a standard error of {error:.2g}" if error is not None else ""
    return f"weak: {holdout_rows} holdout rows, of which each counts for {1 / max(holdout_rows, 1):.1%}{known}"
