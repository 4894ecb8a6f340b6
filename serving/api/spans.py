"""The spans of predictions, recorded behind the answer: one of the request, and one of the computing below it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from time import perf_counter

from ml_code.telemetry import Tracing, fail
from ml_code.traces import Trace, read_traceparent
from serving.answering.served import ServedModel
from serving.api.request import Asked
from serving.figures import PROBE

SERVICE = "mlops-loop-serving"


class RequestSpans:
    """Records the requests of a replica; all of it runs in the thread of the requests.

    >>> RequestSpans(tracing).note(asked, b"019c0b6e5a3f7a1c8b2d4e6f8a0b1c2d", 200, served, {}, started=started)
    """

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    def note(
        self,
        asked: Asked,
        request_id: bytes,
        status: int,
        served: ServedModel | None,
        protocol: Mapping[str, str | int],
        *,
        started: float,
        ended: float | None = None,
    ) -> None:
        """Records a request that began at `started` of `perf_counter`, and was answered at `ended`; None: now.

        `protocol` has the attributes of its protocol; `status` is that of HTTP.
        """
        if asked.traffic == PROBE:
            return
        now_ns, now = time.time_ns(), perf_counter()
        ended_ns = now_ns - (0 if ended is None else round((now - ended) * 1e9))
        parent, is_root = find_parent(asked, request_id)
        attributes = {
            **protocol,
            "mlops.request_id": request_id.decode(),
            "mlops.traffic": asked.traffic,
        }
        if served is not None:
            identity = served.identity
            attributes |= {"mlops.model": identity.name, "mlops.version": identity.version}
            attributes["mlops.variant"] = served.variant
        recorded = self._tracing.start(
            "predict",
            parent,
            is_root=is_root,
            is_server=True,
            attributes=attributes,
            start_ns=now_ns - round((now - started) * 1e9),
        )
        if status >= 500:
            fail(recorded, f"status {status}")
        timer = asked.timer
        if timer is not None and timer.begun_at is not None and recorded.is_recording():
            begun_ns = now_ns - round((now - timer.begun_at) * 1e9)
            inference = self._tracing.start("inference", recorded, start_ns=begun_ns)
            inference.end(begun_ns + round(timer.seconds * 1e9))
        recorded.end(ended_ns)

    def close(self) -> None:
        """Sends what waits, if that is soon done."""
        self._tracing.close()


def find_parent(asked: Asked, request_id: bytes) -> tuple[Trace, bool]:
    """The place of a request in its trace, and whether the trace begins with it: the gateway records no span."""
    sent = read_traceparent(asked.traceparent)
    if sent is None:
        return Trace(request_id.decode(), request_id.decode()[:16]), True
    return sent, sent.trace_id.encode() == asked.gateway_id
