from __future__ import annotations

import json
import logging
import re

from ml_code.log_lines import make_formatter


def make_record(message: str, **fields: object) -> logging.LogRecord:
    record = logging.getLogger("serving.requests").makeRecord(
        "serving.requests", logging.WARNING, "app.py", 1, message, (), None, extra=dict(fields)
    )
    record.created, record.msecs = 1764417600.0, 7.9
    return record


def test_a_line_of_json_has_the_common_names_and_what_the_request_is() -> None:
    line = make_formatter("json").format(
        make_record("request answered", trace_id="0a", request_id="0b", model="iris", version="3", asked=1)
    )
    assert json.loads(line) == {
        "time": "2025-11-29T12:00:00.007Z",
        "level": "warning",
        "logger": "serving.requests",
        "message": "request answered",
        "trace_id": "0a",
        "request_id": "0b",
        "model": "iris",
        "version": "3",
    }


def test_a_line_of_json_is_one_line_whatever_is_logged() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        record = make_record('a "name"\nwith a line end \x00 \u2028')
        record.exc_info = (type(error), error, error.__traceback__)
    line = make_formatter("json").format(record)
    assert "\n" not in line
    found = json.loads(line)
    assert found["message"] == 'a "name"\nwith a line end \x00 \u2028'
    assert found["error"].endswith("ValueError: two\nlines")


def test_a_line_for_people_ends_with_what_the_request_is() -> None:
    line = make_formatter("text").format(make_record("request answered", status=200, trace_id="0a", version=None))
    assert re.fullmatch(r"\S+ \S+ \[WARNING\] serving.requests request answered \[trace_id=0a status=200\]", line)
    assert make_formatter("text", "%(message)s").format(make_record("it starts")) == "it starts"
