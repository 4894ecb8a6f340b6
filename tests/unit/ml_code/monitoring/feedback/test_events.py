from __future__ import annotations

from typing import Any

import pytest

from ml_code.monitoring.feedback.events import Event, Flaw, read_event, read_item, render_event
from ml_code.monitoring.prediction_log.blocks import make_request_id

NOW_MS = 1_764_331_200_000  # 2025-11-28T12:00:00Z
REQUEST = f"{NOW_MS - 3_600_000:012x}7abc8{'0' * 15}"
GOOD: dict[str, Any] = {"request_id": REQUEST, "label": 2}


def test_an_event_is_read_as_it_was_written() -> None:
    event = Event(REQUEST, None, 3, "versicolor", NOW_MS, NOW_MS, "lab", "e1" * 16, "iris", "may.csv")
    assert read_event(render_event(event)) == event


def test_a_label_needs_an_id_and_a_value() -> None:
    assert read_item(GOOD, NOW_MS) == {
        "request_id": REQUEST,
        "client_request_id": None,
        "row": 0,
        "label": 2,
        "observed_at": None,
    }
    assert read_item({"client_request_id": "order 17", "row": 1, "label": True}, NOW_MS) == {
        "request_id": None,
        "client_request_id": "order 17",
        "row": 1,
        "label": True,
        "observed_at": None,
    }


def test_a_time_is_read_in_any_zone() -> None:
    found = read_item(GOOD | {"observed_at": "2025-11-28T20:30:00+09:00"}, NOW_MS)
    assert not isinstance(found, Flaw)
    assert found["observed_at"] == NOW_MS - 30 * 60_000


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"request_id": None}, "request_id"),
        ({"client_request_id": "order 17"}, "request_id"),
        ({"request_id": "order 17"}, "request_id"),
        ({"request_id": 17}, "request_id"),
        ({"request_id": f"{NOW_MS + 120_000:012x}7abc8{'0' * 15}"}, "request_id"),
        ({"request_id": None, "client_request_id": ""}, "client_request_id"),
        ({"request_id": None, "client_request_id": "a" * 129}, "client_request_id"),
        ({"row": -1}, "row"),
        ({"row": 10_000}, "row"),
        ({"row": 1.0}, "row"),
        ({"row": True}, "row"),
        ({"label": None}, "label"),
        ({"label": " "}, "label"),
        ({"label": [2]}, "label"),
        ({"label": "a" * 201}, "label"),
        ({"observed_at": "yesterday"}, "observed_at"),
        ({"observed_at": "2025-11-28T12:00:00"}, "observed_at"),
        ({"observed_at": NOW_MS}, "observed_at"),
        ({"observed_at": "2025-11-28T13:00:00Z"}, "observed_at"),
        ({"observed_at": "2025-11-28T10:00:00Z"}, "observed_at"),
        ({"token": "other"}, "token"),
    ],
)
def test_a_label_that_is_not_valid_is_named_by_its_field(change: dict[str, Any], field: str) -> None:
    found = read_item(GOOD | change, NOW_MS)
    assert isinstance(found, Flaw)
    assert found.field == field


def test_a_label_is_an_object() -> None:
    assert isinstance(read_item([REQUEST, 2], NOW_MS), Flaw)


@pytest.mark.parametrize(
    "line", [b"", b"[]", b'{"format":2}', b'{"format":1,"label":2}', render_event(Event(*"abcdefgh"))[:-9]]
)
def test_a_line_of_another_form_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="expected a line of format 1"):
        read_event(line)


@pytest.mark.parametrize(
    "change",
    [
        {"received_at": 10**18},
        {"received_at": "noon"},
        {"received_at": None},
        {"observed_at": -(10**18)},
        {"observed_at": 1.5},
        {"row": -1},
        {"row": "0"},
        {"row": True},
        {"request_id": "x"},
        {"request_id": 7},
        {"request_id": None},
        {"client_request_id": 7},
        {"event": "x"},
        {"event": None},
        {"label": None},
        {"label": [1]},
        {"label": "x" * 201},
        {"model": "iris\0"},
        {"model": 7},
        {"token": {}},
    ],
    ids=str,
)
def test_a_line_that_no_replica_writes_is_refused(change: dict[str, Any]) -> None:
    event = Event(make_request_id(), None, 0, 1, None, 1_795_000_000_000, "shop", make_request_id())
    assert read_event(render_event(event)) == event
    with pytest.raises(ValueError, match=r"label: found .* expected a line of format 1"):
        read_event(render_event(event._replace(**change)))
