"""Decides what becomes of each label: kept for its row, left for later, or counted and set aside with a reason."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, NamedTuple

from ml_code.cells import name_category
from ml_code.monitoring.feedback.events import Event, Label, is_before
from ml_code.monitoring.feedback.rows import LoggedRequest, LoggedRows, find_hour
from ml_code.monitoring.prediction_log.blocks import read_time

MILLISECOND = timedelta(milliseconds=1)

type Reason = Literal["unknown", "mistyped", "too_late", "implausible", "refused"]


@dataclass(frozen=True, slots=True)
class LabelRules:
    """What a model's dataset says of labels: the allowed ones (None: any), and how late they may come."""

    allowed: frozenset[str] | None = None
    horizon: timedelta = timedelta(days=30)


class Kept(NamedTuple):
    """A label that fits its row; `text` is its canonical text."""

    model: str
    request_id: str
    text: str
    event: Event


class Unused(NamedTuple):
    """A label that is set aside; the model is empty where its row is not known."""

    model: str
    reason: Reason
    event: Event


@dataclass(slots=True)
class Verdicts:
    """What became of some labels."""

    kept: list[Kept] = field(default_factory=list)
    unused: list[Unused] = field(default_factory=list)
    waiting: list[Event] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges labels by the rows of the log, which is complete up to `complete_ms`, and by the rules of their models."""

    logged: LoggedRows
    rules: Mapping[str, LabelRules]
    complete_ms: int

    def judge(self, events: Iterable[Event]) -> Verdicts:
        """Judges each label alone."""
        verdicts = Verdicts()
        for event in events:
            match self._judge(event):
                case Kept() as kept:
                    verdicts.kept.append(kept)
                case Unused() as unused:
                    verdicts.unused.append(unused)
                case None:
                    verdicts.waiting.append(event)
        return verdicts

    def _judge(self, event: Event) -> Kept | Unused | None:
        request_id = event.request_id or self.logged.client_ids.get((event.model, event.client_request_id or ""))
        if request_id is None:
            # The request came before its label, so a log that is complete until then holds all that it could mean.
            return Unused(event.model or "", "unknown", event) if event.received_at < self.complete_ms else None
        if self.logged.unread and find_hour(request_id) in self.logged.unread:
            return None
        request = self.logged.requests.get(request_id)
        if read_time(request_id) >= self.complete_ms and (request is None or event.row not in request.rows):
            return None
        if request is None or event.model not in {None, request.model}:
            return Unused(event.model or "", _name_missing(event, request_id, request), event)
        return self._judge_row(event, request_id, request)

    def _judge_row(self, event: Event, request_id: str, request: LoggedRequest) -> Kept | Unused:
        if reason := self._find_reason(event, request_id, request):
            return Unused(request.model, reason, event)
        text = make_label_text(event.label, is_classification=request.is_classification)
        allowed = self._find_rules(request.model).allowed if request.is_classification else None
        if text is None or (allowed is not None and text not in allowed):
            return Unused(request.model, "mistyped", event)
        return Kept(request.model, request_id, text, event)

    def _find_rules(self, model: str) -> LabelRules:
        return self.rules.get(model, LabelRules())

    def _find_reason(self, event: Event, request_id: str, request: LoggedRequest) -> Reason | None:
        predicted_ms = read_time(request_id)
        if not request.rows:
            return "refused"
        if event.row not in request.rows:
            return "unknown"
        if event.observed_at is not None and is_before(event.observed_at, predicted_ms):
            return "implausible"
        horizon_ms = self._find_rules(request.model).horizon / MILLISECOND
        return "too_late" if event.received_at - predicted_ms > horizon_ms else None


def _name_missing(event: Event, request_id: str, request: LoggedRequest | None) -> Reason:
    """The reason of a label without a row: the log keeps no rows of long ago."""
    is_old = event.received_at - read_time(request_id) > LabelRules().horizon / MILLISECOND
    return "too_late" if request is None and is_old else "unknown"


def make_label_text(label: Label, *, is_classification: bool) -> str | None:
    """The canonical text of a label; None where it has another type than the model's predictions.

    >>> make_label_text(2.0, is_classification=True), make_label_text("2", is_classification=False)
    ('2', '2.0')
    """
    if is_classification:
        return name_category(label) or None
    if isinstance(label, bool):
        return None
    try:
        number = float(label)
    except ValueError:
        return None
    return repr(number) if math.isfinite(number) else None


def count_repeats(kept: Iterable[Kept], earlier: Mapping[tuple[str, int], str]) -> tuple[int, int]:
    """How many labels repeat the one before for their row, and how many correct it; `kept` is in order of receipt."""
    newest, duplicate, corrected = dict(earlier), 0, 0
    for one in kept:
        before = newest.get((one.request_id, one.event.row))
        duplicate += before == one.text
        corrected += before not in {None, one.text}
        newest[one.request_id, one.event.row] = one.text
    return duplicate, corrected
