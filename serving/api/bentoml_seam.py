"""The places where this service reaches into BentoML 1.4 and uvicorn: a test fails clearly when one of them moves.

BentoML's OpenTelemetry middleware takes 35 % of a request's time; its timeout keeps every request's objects for the
whole of the ten seconds (100 MB more and collections of 200 ms at 1,500 requests/s); its traffic metrics take a sixth
of the time and label by raw path, which any client can grow without end; its limit of requests, which is off, sends a
429 without a header that says when to come again: `Front` does the work of the last three. BentoML's metrics client
expects a directory that a supervisor makes. uvicorn
writes the head of a response and its body one after the other. One in ten replicas that are killed under load thus
leaves the gateway with half a response, which the gateway cannot retry on another replica.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from prometheus_client import REGISTRY
from starlette.types import ASGIApp, Message

from ml_code.log_lines import LogFormat, make_formatter
from serving.api.front import Front, MountedApp
from serving.api.traffic import Traffic

TRACING = ("opentelemetry.instrumentation.asgi", "OpenTelemetryMiddleware")
TIMEOUT = ("bentoml._internal.server.http.traffic", "TimeoutMiddleware")
CYCLE = ("uvicorn.protocols.http.httptools_impl", "RequestResponseCycle")
FACTORY = ("_bentoml_impl.server.app", "ServiceAppFactory")
METRICS = ("bentoml._internal.server.http.instruments", "RunnerTrafficMetricsMiddleware")


def adapt_bentoml(mounted: MountedApp) -> None:
    """Replaces BentoML's middlewares by `Front`, its metrics client, and uvicorn's writing.

    Raises:
        RuntimeError: BentoML has moved one of the places.
    """
    for place in (TRACING, TIMEOUT, METRICS):
        _replace(*place, lambda _: pass_through)
    _replace(*FACTORY, partial(put_front, mounted))
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


def put_front(mounted: MountedApp, factory: Any) -> Any:
    """The same maker of BentoML's app, with our front around the app that it makes."""
    traffic = Traffic()
    REGISTRY.register(traffic)

    class FrontedAppFactory(factory):  # type: ignore[misc]
        def __call__(self) -> Front:
            return Front(super().__call__(), mounted, traffic)

    return FrontedAppFactory


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
