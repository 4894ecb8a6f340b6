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
import re
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from prometheus_client import REGISTRY
from starlette.types import ASGIApp, Message
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from ml_code.log_lines import LogFormat, make_formatter
from serving.api.front import Front, MountedApp
from serving.api.traffic import Traffic
from serving.limits import LONGEST_READ_SECONDS

TRACING = ("opentelemetry.instrumentation.asgi", "OpenTelemetryMiddleware")
TIMEOUT = ("bentoml._internal.server.http.traffic", "TimeoutMiddleware")
CYCLE = ("uvicorn.protocols.http.httptools_impl", "RequestResponseCycle")
CONFIG = ("uvicorn", "Config")
FACTORY = ("_bentoml_impl.server.app", "ServiceAppFactory")
METRICS = ("bentoml._internal.server.http.instruments", "RunnerTrafficMetricsMiddleware")

KNOWN_HEADERS = frozenset(
    {b"content-type", b"content-length", b"x-request-id", b"x-model-version", b"inference-header-content-length"}
)
ENDS_HEADER = re.compile(b"[\\x00-\\x08\\x0a-\\x1f\\x7f]")
"""Bytes that uvicorn allows in no header's value."""


def adapt_bentoml(mounted: MountedApp) -> None:
    """Replaces BentoML's middlewares by `Front`, its metrics client, and uvicorn's writing.

    Raises:
        RuntimeError: BentoML has moved one of the places.
    """
    for place in (TRACING, TIMEOUT, METRICS):
        _replace(*place, lambda _: pass_through)
    _replace(*FACTORY, partial(put_front, mounted))
    _replace(*CYCLE, send_whole)
    _replace(*CONFIG, shorten_config)
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
            await self._send(message)
            if self.response_complete and self.flow.write_paused:
                await wait_for_reader(self.flow, self.transport)

        async def _send(self, message: Message) -> None:
            if message["type"] == "http.response.start" and not self.response_started:
                self.head = message
                return
            if self.head is None:
                await super().send(message)
                return
            head, self.head = self.head, None
            if self._is_simple(head, message):
                self._write(head, message["body"])
                return
            transport, held = self.transport, HeldTransport(self.transport)
            self.transport = held
            try:
                await super().send(head)
                await super().send(message)
            finally:
                held.let_go()
                self.transport = transport

        def _is_simple(self, head: Message, message: Message) -> bool:
            """Whether a response is whole, with headers that uvicorn would write as they are."""
            if message.get("more_body") or not self.keep_alive or self.disconnected or self.flow.write_paused:
                return False
            headers = dict(head["headers"])
            return (
                headers.keys() <= KNOWN_HEADERS
                and headers.get(b"content-length") == b"%d" % len(message["body"])
                and not ENDS_HEADER.search(b"".join(headers.values()))
                and self.scope["method"] == "POST"
            )

        def _write(self, head: Message, body: bytes) -> None:
            self.response_started = self.response_complete = True
            self.waiting_for_100_continue = False
            lines = [name + b": " + value for name, value in (*self.default_headers, *head["headers"])]
            self.transport.write(b"\r\n".join([STATUS_LINE[head["status"]][:-2], *lines, b"", body]))
            self.message_event.set()
            self.on_response()

    return WholeResponseCycle


async def wait_for_reader(flow: Any, transport: Any) -> None:
    """Returns once a client has read a large response, which counts in the bound of memory until then."""
    try:
        async with asyncio.timeout(LONGEST_READ_SECONDS):
            await flow.drain()
    except TimeoutError:
        transport.abort()


def shorten_config(config: Any) -> Any:
    """The same class of uvicorn's, without access lines that nobody sees, and without the headers of proxies."""

    class ShortConfig(config):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options, access_log=False, proxy_headers=False)

    return ShortConfig


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
