"""The trace to which a request or a run belongs, by the header `traceparent` (https://www.w3.org/TR/trace-context/)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from types import MappingProxyType
from typing import NamedTuple

HEADER = "traceparent"

TRACEPARENT = re.compile(
    rb"(?:00|((?!00|ff)[0-9a-f]{2}))-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?(1)(?:-.*)?)",
    re.DOTALL,
)
"""Version, trace id, span id and flags; a later version than 00 may add fields behind these."""

SAMPLED = 1
"""The flag of a trace whose spans are recorded."""


LENGTH = 55
"""Characters of a header of version 00."""

NO_TRACE, NO_SPAN = "0" * 32, b"-" + b"0" * 16 + b"-"


class Trace(NamedTuple):
    """A place in a trace: the span that a caller names as the parent of what it starts.

    >>> read_traceparent(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    Trace(trace_id='0af7651916cd43dd8448eb211c80319c', span_id='b7ad6b7169203331', is_sampled=True)
    """

    trace_id: str
    span_id: str
    is_sampled: bool = False

    def render(self) -> str:
        """The header's value."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.is_sampled):02x}"


CURRENT: ContextVar[Trace | None] = ContextVar("trace", default=None)
"""The trace of the run that this process works for; None outside of one."""


LABELS: ContextVar[Mapping[str, str]] = ContextVar("labels", default=MappingProxyType({}))
"""What the spans of that run say of it."""


def read_traceparent(header: bytes | None) -> Trace | None:
    """Reads the header's value; None where there is none, or no valid one."""
    found = TRACEPARENT.fullmatch(header) if header else None
    if found is None:
        return None
    return Trace(found[2].decode(), found[3].decode(), bool(int(found[4], 16) & SAMPLED))


def list_trace_ids(headers: Sequence[bytes | None]) -> list[str | None]:
    """The trace ids of many headers as `read_traceparent` finds them, and ten times as fast for the gateway's."""
    plain = [header for header in headers if header and len(header) == LENGTH]
    joined = b"".join(plain)
    if len(plain) == len(headers) and _are_plain(joined, len(plain)):
        text = joined.decode()
        ids = [text[at : at + 32] for at in range(3, len(text), LENGTH)]
        if NO_TRACE not in ids:
            return [*ids]
    return [trace and trace.trace_id for trace in map(read_traceparent, headers)]


def _are_plain(joined: bytes, count: int) -> bool:
    """Whether these are as many headers of version 00, each valid unless its trace id is zero."""
    zeros, dashes = b"0" * count, b"-" * count
    return (
        joined[::LENGTH] == joined[1::LENGTH] == zeros
        and joined[2::LENGTH] == joined[35::LENGTH] == joined[52::LENGTH] == dashes
        and joined.count(b"-") == 3 * count
        and not joined.translate(None, b"0123456789abcdef-")
        and NO_SPAN not in joined
    )


def join(header: str | None, labels: Mapping[str, str]) -> Trace | None:
    """Has this process work for the run of a header from now on; returns its trace, None without a valid one."""
    trace = read_traceparent(header.encode("latin-1", "replace")) if header else None
    CURRENT.set(trace)
    LABELS.set(labels)
    return trace


def list_tags() -> dict[str, str]:
    """The tag by which a run in MLflow names the current trace."""
    trace = CURRENT.get()
    return {"trace_id": trace.trace_id} if trace else {}


def make_headers() -> dict[str, str]:
    """The headers with which a request joins the current trace."""
    trace = CURRENT.get()
    return {HEADER: trace.render()} if trace else {}
