"""When a model may be trained again; pure: what is known of it in, the reason to wait out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ml_code.drift_rules import DriftRules
from ml_code.gate.evidence import show_names
from ml_code.monitoring.retraining.attempts import Attempt

COOL_DOWN = timedelta(hours=24)
"""Shortest time between two attempts of a model."""

MORE_AFTER_REJECTION = 2
"""A rejected attempt needs this many times its labels before the next one, so that attempts get rare."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known of a model that calls for a retraining.

    `labels` are those of the calling windows that came after the last attempt, `by_class` of each class (empty for a
    regression). `faults` are those of the newest window's data, `unlogged` the features that the log leaves out, and
    `busy` names what else is under way with the model.
    """

    labels: int
    by_class: Mapping[str, int] = field(default_factory=dict)
    faults: Sequence[str] = ()
    unlogged: Sequence[str] = ()
    busy: str | None = None
    last: Attempt | None = None


def find_obstacle(rules: DriftRules, situation: Situation, now: datetime) -> str | None:
    """The reason why no training begins, with what a person can do; None if it may begin."""
    if situation.faults:
        return f"the data has faults ({show_names(situation.faults)}): a model must not learn them; fix their source"
    if situation.unlogged:
        return f"the prediction log leaves out {show_names(situation.unlogged)} (log = false): train on a new file"
    if situation.busy is not None:
        return f"{situation.busy}; the next window asks again"
    last = situation.last
    if last is not None and last.is_active:
        waits = f"version {last.version} waits for a person: `mlops deploy {last.model} {last.version}`"
        return waits if last.outcome == "held" else "another retraining of it is under way"
    if last is not None and now < last.asked_at + COOL_DOWN:
        return f"the last attempt was at {last.asked_at:%Y-%m-%d %H:%M} UTC; the next one may begin a day later"
    return _find_missing(rules, situation)


def count_needed(rules: DriftRules, last: Attempt | None) -> int:
    """Labels that the next attempt needs.

    >>> count_needed(DriftRules(), None)
    200
    """
    if last is None or last.outcome != "rejected":
        return rules.min_new_labels
    return max(rules.min_new_labels, MORE_AFTER_REJECTION * last.labels)


def _find_missing(rules: DriftRules, situation: Situation) -> str | None:
    needed = count_needed(rules, situation.last)
    least = rules.min_new_labels_per_class
    missing = [f"{needed - situation.labels} labels"] if situation.labels < needed else []
    rare = [f"{least - count} of the class {name}" for name, count in situation.by_class.items() if count < least]
    if not missing and not rare:
        return None
    rejected = " (twice those of the rejected attempt)" if needed > rules.min_new_labels else ""
    return (
        f"found {situation.labels} new labels, expected {needed}{rejected} and {least} of each class: missing "
        f"{show_names([*missing, *rare])}; send them to /feedback"
    )
