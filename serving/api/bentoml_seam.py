"""The places where this service reaches into BentoML 1.4 and uvicorn: a test fails clearly when one of them moves.

BentoML's OpenTelemetry middleware takes 35 % of a request's time; its timeout keeps every request's objects for the
whole of the ten seconds (100 MB more and collections of 200 ms at 1,500 requests/s); its traffic metrics label by raw
path, which any client can grow without end; its limit of requests sends a 429 without a header that says when to come
again; its metrics client expects a directory that a supervisor makes. uvicorn
writes the head of a response and its body one after the other. One in ten replicas that are killed under load thus
leaves the gateway with half a response, which the gateway cannot retry on another replica.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ml_code.log_lines import LogFormat, make_formatter
from serving.api.metrics import bound_endpoint
from serving.api.pages import answer_error
from serving.errors import RequestError

REAL_PATH = "serving.path"
"""Key of a request's own path in its scope, while `path` is the label that the metrics read."""

HEALTH_PATHS = frozenset({"/metrics", "/healthz", "/livez", "/readyz"})

TRACING = ("opentelemetry.instrumentation.asgi", "OpenTelemetryMiddleware")
TIMEOUT = ("bentoml._internal.server.http.traffic", "TimeoutMiddleware")
CYCLE = ("uvicorn.protocols.http.httptools_impl", "RequestResponseCycle")
CONCURRENCY = ("bentoml._internal.server.http.traffic", "MaxConcurrencyMiddleware")
METRICS = ("bentoml._internal.server.http.instruments", "RunnerTrafficMetricsMiddleware")


def adapt_bentoml() -> None:
    """Replaces four of the middlewares that BentoML's app will be built of, its metrics client, and uvicorn's writing.

    Raises:
        RuntimeError: BentoML has moved one of the places.
    """
    _replace(*TRACING, lambda _: pass_through)
    _replace(*TIMEOUT, lambda _: limit_time)
    _replace(*CONCURRENCY, lambda _: limit_requests)
    _replace(*METRICS, bound_labels)
    _replace(*CYCLE, send_whole)
    containers = import_module("bentoml._internal.configuration.containers")
    prometheus = import_module("bentoml._internal.server.metrics.prometheus")
    containers.BentoMLContainer.metrics_client.set(prometheus.PrometheusClient(multiproc=False))


def format_log(lines: LogFormat) -> None:
    """Replaces the form of the lines that BentoML's worker will log; called before the worker starts."""
    log = import_module("bentoml._internal.log")
    settings = log.SERVER_LOGGING_CONFIG
    settings["formatters"]["traced"] = {"()": make_formatter, "lines": lines, "datefmt": log.DATE_FORMAT}
    # BentoML's filter would put its own id of a request in the place of ours.
    settings["handlers"]["tracehandler"]["filters"] = []
    settings["loggers"]["serving.requests"] = {"level": "INFO"}
    # A logger that a module made before the worker starts would say nothing from then on.
    settings["disable_existing_loggers"] = False


def pass_through(app: ASGIApp, **_: Any) -> ASGIApp:
    """A middleware that does nothing."""
    return app


def limit_time(app: ASGIApp, timeout: float) -> ASGIApp:
    """A middleware that sends 504 after some seconds without a response, and forgets a request that has one."""

    async def limited(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        has_started = False

        async def send_in_time(message: Message) -> None:
            nonlocal has_started
            has_started = True
            limit.reschedule(None)
            await send(message)

        try:
            async with asyncio.timeout(timeout) as limit:
                await app(scope, receive, send_in_time)
        except TimeoutError:
            if has_started:
                raise
            error = RequestError(504, f"request: found no answer after {timeout} s, expected one; send fewer rows")
            await answer_error(error)(scope, receive, send)

    return limited


def limit_requests(app: ASGIApp, max_concurrency: int, skip_paths: Iterable[str] = ()) -> ASGIApp:
    """A middleware that sends 429 to requests beyond some at once, except those that ask after the replica's health."""
    free = max_concurrency
    skipped = frozenset(skip_paths) | HEALTH_PATHS

    async def limited(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal free
        if scope["type"] != "http" or scope["path"] in skipped:
            await app(scope, receive, send)
            return
        if not free:
            found = f"found {max_concurrency} under way, expected fewer"
            await answer_error(RequestError(429, f"request: {found}; send it again in a second"))(scope, receive, send)
            return
        free -= 1
        try:
            await app(scope, receive, send)
        finally:
            free += 1

    return limited


def bound_labels(middleware: Callable[..., ASGIApp]) -> Callable[..., ASGIApp]:
    """The same metrics middleware, which sees one label for every path outside the service."""

    def build(app: ASGIApp, **options: Any) -> ASGIApp:
        async def restore_path(scope: Scope, receive: Receive, send: Send) -> None:
            if REAL_PATH in scope:
                scope = {**scope, "path": scope[REAL_PATH]}
            await app(scope, receive, send)

        inner = middleware(restore_path, **options)

        async def bound_path(scope: Scope, receive: Receive, send: Send) -> None:
            path = scope.get("path", "")
            label = bound_endpoint(path)
            if label != path and scope["type"] == "http":
                scope = {**scope, "path": label, REAL_PATH: path}
            await inner(scope, receive, send)

        return bound_path

    return build


class HeldTransport:
    """A transport that buffers what is written until it is released."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Buffers the data."""
        self._parts.append(data)

    def let_go(self) -> None:
        """Writes everything at once."""
        if self._parts:
            self._transport.write(b"".join(self._parts))
            self._parts = []

    def close(self) -> None:
        """Closes the transport after the buffered data."""
        self.let_go()
        self._transport.close()


def send_whole(cycle: Any) -> Any:
    """The same class of uvicorn's, which writes the head of a response with the first part of its body."""

    class WholeResponseCycle(cycle):  # type: ignore[misc]
        head: Message | None = None
        transport: Any

        async def send(self, message: Message) -> None:
            if message["type"] == "http.response.start" and not self.response_started:
                self.head = message
                return
            if self.head is None:
                await super().send(message)
                return
            head, self.head = self.head, None
            transport, held = self.transport, HeldTransport(self.transport)
            self.transport = held
            try:
                await super().send(head)
                await super().send(message)
            finally:
                held.let_go()
                self.transport = transport

    return WholeResponseCycle


def _replace(module: str, name: str, make: Callable[[Any], Any]) -> None:
    place = import_module(module)
    original = getattr(place, name, None)
    if original is None:
        raise RuntimeError(
            f"{module}.{name}: found none, expected the one of BentoML 1.4 and uvicorn 0.54; "
            "pin both or move serving/api/bentoml_seam.py after them"
        )
    if not getattr(original, "is_adapted", False):
        adapted = make(original)
        adapted.is_adapted = True
        setattr(place, name, adapted)
