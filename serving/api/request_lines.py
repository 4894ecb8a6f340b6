"""Lines in the replica's log about single requests: those that failed, and those whose clients asked for it.

A client asks by the flag `sampled` of its header `traceparent`. Clients may ask for as many as they like, so what comes
within a second beyond some lines is counted and left out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ml_code.traces import read_traceparent
from serving.answering.served import ServedModel
from serving.api.request import Asked

LINES_PER_SECOND = 10

SAMPLED_DIGITS = b"13579bdf"
"""The last digit of a header with the flag; most requests end with another one, and cost no more than this look."""

logger = logging.getLogger("serving.requests")


class RequestLines:
    """Writes the lines of a replica; all of it runs in the thread of the requests.

    >>> RequestLines().note(asked, b"019c0b6e5a3f7a1c8b2d4e6f8a0b1c2d", 200, served, 0.0004)
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._second = 0
        self._lines = self._left_out = 0

    def note(self, asked: Asked, request_id: bytes, status: int, served: ServedModel | None, seconds: float) -> None:
        """Writes the line of a request whose client asked for it."""
        if not asked.traceparent or asked.traceparent[-1] not in SAMPLED_DIGITS:
            return
        trace = read_traceparent(asked.traceparent)
        if trace is None or not trace.is_sampled or not self._has_room():
            return
        found = describe(asked, request_id) | {"status": status, "milliseconds": round(seconds * 1000, 3)}
        if served is not None:
            identity = served.identity
            found |= {"model": identity.name, "version": identity.version, "variant": served.variant}
        logger.info("request answered", extra=found)

    def fail(self, asked: Asked, request_id: bytes, error: BaseException) -> None:
        """Writes the traceback of an exception."""
        logger.error("request failed", exc_info=error, extra=describe(asked, request_id))

    def _has_room(self) -> bool:
        second = int(self._clock())
        if second != self._second:
            if self._left_out:
                logger.info("%d more requests within a second asked for a line", self._left_out)
            self._second, self._lines, self._left_out = second, 0, 0
        self._lines += 1
        self._left_out += self._lines > LINES_PER_SECOND
        return self._lines <= LINES_PER_SECOND


def describe(asked: Asked, request_id: bytes) -> dict[str, object]:
    """The ids of a request; where it came without a trace, its own id names one."""
    trace, own = read_traceparent(asked.traceparent), request_id.decode()
    return {"trace_id": trace.trace_id if trace else own, "request_id": own}
