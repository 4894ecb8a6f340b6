"""A label as an event: one line of JSON, made at the door of a replica or of a CSV file, and read by the collection.

Events are never changed. The same label again is a duplicate, another one for the same row is a correction.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from ml_code.monitoring.prediction_log.blocks import read_time

FORMAT = 1

MOST_LABELS = 1_000
"""Labels of one request; more take a CSV file."""

MOST_ROWS = 10_000
"""Rows that one request for predictions may have."""

LONGEST_TEXT = 200
"""Characters of a label."""

LONGEST_CLIENT_ID = 128
"""Characters of a client's own id; the prediction log stores no longer one."""

TOLERANCE_MS = 60_000
"""Clocks of two machines differ by less than this."""

LATEST_MS = 250_000_000_000_000
"""A moment in the year 9892: no calendar holds much later ones."""

EVENT_ID = re.compile(r"[0-9a-f]{32}")

FIELDS = ("request_id", "client_request_id", "row", "label", "observed_at")
"""What a sender writes of a label."""

type Label = bool | int | float | str


class Flaw(NamedTuple):
    """What is wrong with a label; the field is None where the label as a whole is wrong."""

    field: str | None
    problem: str


class Event(NamedTuple):
    """One label as it was received; times are milliseconds since 1970, UTC.

    `event` is an id of its own, so that a line that is collected twice counts once. `model` is None where the sender
    named none, and `source` is the name of a CSV file, or None for a request.
    """

    request_id: str | None
    client_request_id: str | None
    row: int
    label: Label
    observed_at: int | None
    received_at: int
    token: str | None
    event: str
    model: str | None = None
    source: str | None = None


def read_item(item: Any, received_ms: int) -> Mapping[str, Any] | Flaw:
    """The members of an event that the sender of a label wrote, or what is wrong with them."""
    if not isinstance(item, dict):
        return Flaw(None, "expected an object with request_id or client_request_id, and label")
    if unknown := [name for name in item if name not in FIELDS]:
        return Flaw(unknown[0][:LONGEST_TEXT], f"unknown field, expected {', '.join(FIELDS)}")
    flaw = _find_flaw_of_id(item, received_ms) or _find_flaw_of_label(item)
    if flaw:
        return flaw
    observed_ms = _read_observed(item.get("observed_at"))
    if isinstance(observed_ms, Flaw):
        return observed_ms
    request_id = item.get("request_id")
    request_id = request_id.lower() if request_id is not None else None
    if flaw := _find_flaw_of_time(observed_ms, request_id, received_ms):
        return flaw
    members = {name: item.get(name) for name in ("client_request_id", "label")}
    return members | {"request_id": request_id, "row": item.get("row", 0), "observed_at": observed_ms}


def render_event(event: Event) -> bytes:
    """The line of an event, with its newline.

    Raises:
        orjson.JSONEncodeError: a member is no value of JSON.
    """
    return orjson.dumps({"format": FORMAT, **event._asdict()}, option=orjson.OPT_APPEND_NEWLINE)


def read_event(line: bytes) -> Event:
    """Reads a line.

    Raises:
        ValueError: it is no event of this format.
    """
    try:
        found = orjson.loads(line)
        if found.pop("format") != FORMAT:
            raise ValueError("its format is another one")
        event = Event(**found)
        _check_event(event)
        return event
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(
            f"label: found {line[:80]!r} ({error}), expected a line of format {FORMAT}; "
            "collect it with the version that wrote it"
        ) from error


def _check_event(event: Event) -> None:
    """Refuses what no replica writes: it would end each collection in which it is met."""
    if event.request_id is None and not isinstance(event.client_request_id, str):
        raise ValueError("it has no id of a request")
    if not EVENT_ID.fullmatch(event.event):
        raise ValueError(f"its own id is {event.event!r}")
    if event.request_id is not None:
        read_time(event.request_id)
    times = (event.received_at, 0 if event.observed_at is None else event.observed_at)
    if not all(type(time_ms) is int and abs(time_ms) <= LATEST_MS for time_ms in times):
        raise ValueError(f"its times are {times}")
    if type(event.row) is not int or not 0 <= event.row < MOST_ROWS:
        raise ValueError(f"its row is {event.row!r}")
    if _find_flaw_of_label({"label": event.label}):
        raise ValueError("its label is neither a number nor a text")
    for text in (event.client_request_id, event.token, event.model, event.source):
        if text is not None and (not isinstance(text, str) or "\0" in text):
            raise ValueError(f"it has {text!r} as a name")


def _find_flaw_of_id(item: Mapping[str, Any], received_ms: int) -> Flaw | None:
    request_id, client_id = item.get("request_id"), item.get("client_request_id")
    if (request_id is None) == (client_id is None):
        found = "neither" if request_id is None else "both"
        return Flaw("request_id", f"found {found} of request_id and client_request_id, expected one of them")
    if client_id is not None:
        if not isinstance(client_id, str) or not 0 < len(client_id) <= LONGEST_CLIENT_ID:
            return Flaw("client_request_id", f"expected a text of 1 to {LONGEST_CLIENT_ID} characters")
    elif (request_ms := _read_request_time(request_id)) is None:
        return Flaw("request_id", "expected the 32 hex digits of the header X-Request-Id of an answer")
    elif request_ms > received_ms + TOLERANCE_MS:
        return Flaw("request_id", "found an id of the future, expected one that an answer had")
    row = item.get("row", 0)
    if type(row) is not int or not 0 <= row < MOST_ROWS:
        return Flaw("row", f"expected the number of a row of the request, from 0 to {MOST_ROWS - 1}")
    return None


def _read_request_time(request_id: Any) -> int | None:
    try:
        return read_time(request_id) if isinstance(request_id, str) else None
    except ValueError:
        return None


def _find_flaw_of_label(item: Mapping[str, Any]) -> Flaw | None:
    label = item.get("label")
    if isinstance(label, str) and 0 < len(label.strip()) <= LONGEST_TEXT:
        return None
    if isinstance(label, int | float) and math.isfinite(label):
        return None
    found = "none" if label is None else "another value"
    return Flaw("label", f"found {found}, expected a number, true, false, or a text of 1 to {LONGEST_TEXT} characters")


def _read_observed(value: Any) -> int | Flaw | None:
    """Milliseconds of the time at which a label was observed."""
    expected = Flaw("observed_at", "expected a time with its zone, such as 2026-11-28T12:00:00Z")
    if value is None:
        return None
    if not isinstance(value, str):
        return expected
    try:
        observed_at = datetime.fromisoformat(value)
        return expected if observed_at.tzinfo is None else math.floor(observed_at.timestamp() * 1000)
    except (ValueError, OverflowError):
        return expected


def _find_flaw_of_time(observed_ms: int | None, request_id: str | None, received_ms: int) -> Flaw | None:
    if observed_ms is None:
        return None
    if observed_ms > received_ms + TOLERANCE_MS:
        return Flaw("observed_at", "found a time of the future, expected one of the past")
    if request_id is not None and is_before(observed_ms, read_time(request_id)):
        return Flaw("observed_at", "found a time before the prediction, expected a later one")
    return None


def is_before(observed_ms: int, predicted_ms: int) -> bool:
    """Whether a label was observed before its row was predicted, which only a wrong clock explains."""
    return observed_ms < predicted_ms - TOLERANCE_MS
