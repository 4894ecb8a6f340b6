"""Which requests have a line in the replica's log."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from serving.api.request import Asked
from serving.api.request_lines import LINES_PER_SECOND, RequestLines
from serving.following.follower import Follower
from tests.unit.serving.app_client import ARRAYS, JSON, Ask

TRACE = "0af7651916cd43dd8448eb211c80319c"
SAMPLED = f"00-{TRACE}-b7ad6b7169203331-01"
REQUEST = b"019c0b6e5a3f7a1c8b2d4e6f8a0b1c2d"


def list_lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """The lines of requests; threads that other tests have left may log, too."""
    return [record for record in caplog.records if record.name == "serving.requests"]


def list_fields(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    names = ("message", "trace_id", "request_id", "status", "model", "version", "variant")
    return [{name: getattr(record, name, None) for name in names} for record in list_lines(caplog)]


@pytest.mark.parametrize(("content", "status"), [(ARRAYS, 200), ('[["no number", 1, 1, 1]]', 422)])
def test_a_client_that_samples_its_trace_finds_its_request_in_the_log(
    ask: Ask, caplog: pytest.LogCaptureFixture, content: str, status: int
) -> None:
    caplog.set_level(logging.INFO, "serving.requests")
    answer = ask("POST", "/predict", content=content, headers=JSON | {"traceparent": SAMPLED})
    [line] = list_fields(caplog)
    assert line == {
        "message": "request answered",
        "trace_id": TRACE,
        "request_id": answer.headers["x-request-id"],
        "status": status,
        "model": "iris",
        "version": "7",
        "variant": "champion",
    }


@pytest.mark.parametrize(
    "headers",
    [{}, {"traceparent": SAMPLED[:-1] + "0"}, {"traceparent": ""}, {"traceparent": "x" * 54 + "1"}],
    ids=["none", "not-sampled", "empty", "invalid"],
)
def test_no_other_request_has_a_line(ask: Ask, caplog: pytest.LogCaptureFixture, headers: dict[str, str]) -> None:
    caplog.set_level(logging.INFO, "serving.requests")
    assert ask("POST", "/predict", content=ARRAYS, headers=JSON | headers).status_code == 200
    assert list_lines(caplog) == []


@pytest.mark.parametrize("header", [SAMPLED, "invalid"])
def test_a_request_that_fails_has_its_traceback_under_its_ids(
    follower: Follower,
    ask: Ask,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    header: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of this test")

    monkeypatch.setattr(follower, "is_allowed", fail)
    answer = ask("POST", "/predict", content=ARRAYS, headers=JSON | {"traceparent": header})
    assert answer.status_code == 500
    record = list_lines(caplog)[0]
    assert (record.message, record.exc_info and record.exc_info[0]) == ("request failed", ZeroDivisionError)
    ids = vars(record)
    assert ids["request_id"] == answer.headers["x-request-id"]
    assert ids["trace_id"] == (TRACE if header == SAMPLED else ids["request_id"])


def test_clients_cannot_flood_the_log_and_what_is_left_out_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "serving.requests")
    now = 100.0
    lines = RequestLines(lambda: now)
    asked = Asked("iris", traceparent=SAMPLED.encode())
    for _ in range(LINES_PER_SECOND + 7):
        lines.note(asked, REQUEST, 200, None, 0.0004)
    assert len(list_lines(caplog)) == LINES_PER_SECOND
    now = 101.0
    lines.note(asked, REQUEST, 200, None, 0.0004)
    assert [record.message for record in list_lines(caplog)[LINES_PER_SECOND:]] == [
        "7 more requests within a second asked for a line",
        "request answered",
    ]
