"""The only door to OpenTelemetry: spans of our programs, sent to the OTLP receiver that the environment names.

Without a receiver nothing of it is imported, and a span costs a look. Spans wait in a bounded queue and leave in a
thread of their own, as JSON over HTTP. A receiver that is away, slow or refuses costs these spans and nothing else.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any

import httpx

from ml_code.settings import TraceReceiver, read_trace_receiver
from ml_code.traces import CURRENT, LABELS, Trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Span

SERVICE = "mlops-loop"
"""Name of the service of steps."""

FLUSH_SECONDS = 2.0
"""Longest wait of a step for its last spans to leave."""

WARN_SECONDS = 60.0
"""Time between two warnings of spans that did not arrive."""

IS_NESTED: ContextVar[bool] = ContextVar("is_nested", default=False)
"""Whether a step of this process is under way, whose end sends all of its spans."""

GIVEN_ID: ContextVar[int] = ContextVar("given_id", default=0)
"""Trace id of the next span without a parent; 0: one of chance."""

KINDS = {"INTERNAL": 1, "SERVER": 2, "CLIENT": 3, "PRODUCER": 4, "CONSUMER": 5}

logger = logging.getLogger(__name__)

type Send = Callable[[bytes], int]
"""Sends the body of a request, and returns the status of the answer."""


class Tracing:
    """Records the spans of one program.

    >>> tracing = Tracing(receiver, "mlops-loop-serving")
    >>> span = tracing.start("predict", Trace("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", True))
    >>> span.end()
    >>> tracing.close()
    """

    def __init__(self, receiver: TraceReceiver, service: str = SERVICE, send: Send | None = None) -> None:
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415  needed with a receiver only
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        resource = Resource.create({"service.name": service})
        self._provider = TracerProvider(resource=resource, id_generator=_make_ids(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(_make_exporter(receiver, send)))
        self._tracer = self._provider.get_tracer("mlops-loop")

    def start(
        self,
        name: str,
        parent: Trace | Span | None,
        *,
        is_root: bool = False,
        is_server: bool = False,
        attributes: Mapping[str, Any] | None = None,
        start_ns: int | None = None,
    ) -> Span:
        """Starts a span below a parent; with `is_root` it has the parent's trace id, and no parent.

        Args:
            name: what is done; few different ones.
            parent: a span of this process, or a place in a trace that came from elsewhere.
            is_root: the parent has no span: whoever made its id records none.
            is_server: whether it answers a request.
            attributes: what else it says.
            start_ns: its begin in nanoseconds since 1970; None: now.
        """
        from opentelemetry import trace  # noqa: PLC0415

        given = int(parent.trace_id, 16) if is_root and isinstance(parent, Trace) else 0
        context = trace.set_span_in_context(trace.INVALID_SPAN)
        if parent is not None and not given:
            context = trace.set_span_in_context(_name_parent(parent) if isinstance(parent, Trace) else parent)
        token = GIVEN_ID.set(given)
        kind = trace.SpanKind.SERVER if is_server else trace.SpanKind.INTERNAL
        try:
            return self._tracer.start_span(name, context, kind, dict(attributes or {}), start_time=start_ns)
        finally:
            GIVEN_ID.reset(token)

    def flush(self, seconds: float | None = None) -> None:
        """Waits until the recorded spans have left, but not longer."""
        _run_at_most(self._provider.force_flush, FLUSH_SECONDS if seconds is None else seconds)

    def close(self, seconds: float = FLUSH_SECONDS) -> None:
        """Sends what waits, if that is soon done."""
        _run_at_most(self._provider.shutdown, seconds)


def open_tracing(service: str = SERVICE) -> Tracing | None:
    """The tracing of this program; None where the environment names no receiver."""
    receiver = read_trace_receiver()
    return None if receiver is None else Tracing(receiver, service)


_find_tracing = cache(open_tracing)


@contextmanager
def span(name: str) -> Iterator[None]:
    """Records a step as a span of the current trace, if there is a receiver; also as a decorator.

    The step of a run whose scheduler records no span has no parent: such steps stand side by side in their trace.

    >>> @span("train")
    ... def train() -> None: ...
    """
    tracing = _find_tracing()
    if tracing is None:
        yield
        return
    parent, is_nested = CURRENT.get(), IS_NESTED.get()
    is_root = parent is not None and not parent.is_sampled
    started = tracing.start(name, parent, is_root=is_root, attributes=None if is_nested else LABELS.get())
    own = started.get_span_context()
    trace = Trace(f"{own.trace_id:032x}", f"{own.span_id:016x}", own.trace_flags.sampled)
    tokens = CURRENT.set(trace), IS_NESTED.set(True)
    try:
        yield
    except BaseException as error:
        fail(started, type(error).__name__)
        raise
    finally:
        started.end()
        CURRENT.reset(tokens[0])
        IS_NESTED.reset(tokens[1])
        if not is_nested:
            tracing.flush()


def fail(failed: Span, why: str) -> None:
    """Marks a span as failed; the text of an error may quote what a person sent."""
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415

    failed.set_status(Status(StatusCode.ERROR, why))


def render_spans(spans: Sequence[ReadableSpan]) -> bytes:
    """The body of a request to a receiver: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding"""
    by_resource: dict[Any, list[dict[str, Any]]] = {}
    for one in spans:
        by_resource.setdefault(one.resource, []).append(_render_span(one))
    groups = [
        {
            "resource": {"attributes": _render_attributes(resource.attributes)},
            "scopeSpans": [{"scope": {"name": "mlops-loop"}, "spans": rendered}],
        }
        for resource, rendered in by_resource.items()
    ]
    return json.dumps({"resourceSpans": groups}).encode()


def _render_span(one: ReadableSpan) -> dict[str, Any]:
    own, status = one.get_span_context(), one.status
    assert own is not None  # noqa: S101  a span that has ended has one
    rendered: dict[str, Any] = {
        "traceId": f"{own.trace_id:032x}",
        "spanId": f"{own.span_id:016x}",
        "name": one.name,
        "kind": KINDS[one.kind.name],
        # 64 bits are texts in this encoding.
        "startTimeUnixNano": str(one.start_time),
        "endTimeUnixNano": str(one.end_time),
        "attributes": _render_attributes(one.attributes or {}),
        "status": {"code": status.status_code.value, **({"message": status.description} if status.description else {})},
    }
    return rendered | ({"parentSpanId": f"{one.parent.span_id:016x}"} if one.parent else {})


def _render_attributes(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _render_value(value)} for name, value in attributes.items()]


def _render_value(value: object) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case list() | tuple():
            return {"arrayValue": {"values": [_render_value(one) for one in value]}}
    return {"stringValue": str(value)}


def _make_exporter(receiver: TraceReceiver, send: Send | None) -> Any:
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult  # noqa: PLC0415

    headers = {**receiver.headers, "Content-Type": "application/json"}
    client = httpx.Client(timeout=receiver.timeout_seconds, headers=headers)
    post = send or (lambda body: client.post(receiver.url, content=body).status_code)

    class Exporter(SpanExporter):
        """Tries each batch once: a receiver that is away for long would fill the queue with what is tried again."""

        warned_at = -WARN_SECONDS
        lost = 0

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            try:
                status = post(render_spans(spans))
                problem = "" if status < httpx.codes.MULTIPLE_CHOICES else f"status {status}"
            except Exception as error:  # the edge of the thread: a broken address is no reason to end it
                problem = type(error).__name__
            if not problem:
                return SpanExportResult.SUCCESS
            self.lost += len(spans)
            if time.monotonic() - self.warned_at >= WARN_SECONDS:
                self.warned_at = time.monotonic()
                logger.warning("traces: found %s, expected the receiver to take spans; %d lost", problem, self.lost)
            return SpanExportResult.FAILURE

        def shutdown(self) -> None:
            client.close()

    return Exporter()


def _make_ids() -> Any:
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator  # noqa: PLC0415

    class GivenIds(RandomIdGenerator):
        def generate_trace_id(self) -> int:
            return GIVEN_ID.get() or super().generate_trace_id()

    return GivenIds()


def _name_parent(trace: Trace) -> Span:
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags  # noqa: PLC0415

    flags = TraceFlags(TraceFlags.SAMPLED if trace.is_sampled else TraceFlags.DEFAULT)
    return NonRecordingSpan(SpanContext(int(trace.trace_id, 16), int(trace.span_id, 16), True, flags))


def _run_at_most(function: Callable[[], object], seconds: float) -> None:
    """Calls a function that may wait for the receiver, and goes on after these seconds."""
    thread = threading.Thread(target=function, name="traces", daemon=True)
    thread.start()
    thread.join(seconds)
