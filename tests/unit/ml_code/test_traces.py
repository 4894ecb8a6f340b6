"""The header of a trace: what is taken, and that anything else is not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_code.traces import CURRENT, Trace, list_trace_ids, make_headers, read_traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
VALID = f"00-{TRACE}-{SPAN}-01"

DIGITS = "0123456789abcdef"
ids = st.text(DIGITS, min_size=32, max_size=32)
spans = st.text(DIGITS, min_size=16, max_size=16)


@pytest.mark.parametrize(
    ("header", "is_sampled"),
    [
        (VALID, True),
        (VALID[:-2] + "00", False),
        (VALID[:-2] + "02", False),
        (VALID[:-2] + "ff", True),
        ("cc" + VALID[2:], True),
        ("01" + VALID[2:] + "-what-a-later-version-adds", True),
    ],
)
def test_a_valid_header_is_taken(header: str, is_sampled: bool) -> None:
    assert read_traceparent(header.encode()) == (TRACE, SPAN, is_sampled)


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        VALID.upper().encode(),
        VALID.encode() + b"-more",
        VALID.encode() + b"\n",
        b" " + VALID.encode(),
        b"ff" + VALID[2:].encode(),
        b"0" + VALID.encode(),
        b"01" + VALID[2:].encode() + b"more",
        VALID.replace(TRACE, "0" * 32).encode(),
        VALID.replace(SPAN, "0" * 16).encode(),
        VALID.replace("-", "_").encode(),
        VALID.replace("a", "g").encode(),
        f"{VALID}, {VALID}".encode(),
        VALID.encode() * 200,
        "\N{FULLWIDTH DIGIT ZERO}0".encode() + VALID[2:].encode(),
        b"\xff" * 55,
    ],
    ids=repr,
)
def test_anything_else_is_not(header: bytes | None) -> None:
    assert read_traceparent(header) is None
    assert list_trace_ids([header, VALID.encode()]) == [None, TRACE]


@given(st.binary(max_size=120))
def test_no_bytes_make_it_fail_and_what_it_takes_is_safe_to_log(header: bytes) -> None:
    found = read_traceparent(header)
    if found is not None:
        assert re.fullmatch(r"[0-9a-f]{32}", found.trace_id)
        assert re.fullmatch(r"[0-9a-f]{16}", found.span_id)


@given(ids, spans, st.booleans())
def test_a_rendered_header_is_read_as_it_was(trace_id: str, span_id: str, is_sampled: bool) -> None:
    trace = Trace(trace_id, span_id, is_sampled)
    is_valid = set(trace_id) != {"0"} and set(span_id) != {"0"}
    assert read_traceparent(trace.render().encode()) == (trace if is_valid else None)


@given(
    st.lists(st.tuples(ids, spans), min_size=1, max_size=5),
    st.integers(0, 4),
    st.integers(0, 54),
    st.sampled_from([b"", b"-", b"0", b"a", b"A", b" ", b"g", b"\xc3\xbc", b"00"]),
)
def test_many_headers_are_read_as_one_by_one(parts: list[tuple[str, str]], place: int, at: int, instead: bytes) -> None:
    headers = [f"00-{trace_id}-{span_id}-01".encode() for trace_id, span_id in parts]
    broken = headers[place % len(headers)]
    headers[place % len(headers)] = broken[:at] + instead + broken[at + 1 :]
    one_by_one = [trace.trace_id if trace else None for trace in map(read_traceparent, headers)]
    assert list_trace_ids(headers) == one_by_one


def test_headers_whose_ends_are_shifted_are_not_taken_for_valid_ones() -> None:
    both = VALID.encode() * 2
    assert list_trace_ids([both[:54], both[54:]]) == [None, None]


def test_no_header_at_all_is_no_trace() -> None:
    assert list_trace_ids([]) == []
    assert list_trace_ids([None, None]) == [None, None]


def test_a_request_of_a_run_joins_its_trace() -> None:
    assert make_headers() == {}
    token = CURRENT.set(Trace(TRACE, SPAN, is_sampled=True))
    try:
        assert make_headers() == {"traceparent": VALID}
    finally:
        CURRENT.reset(token)
