"""The app that the server calls: the counts and limits of all requests, in front of BentoML's app and of ours.

Requests for predictions go past BentoML's app: its middlewares and its router would take a third of their time.
"""

from __future__ import annotations

import asyncio
from time import perf_counter

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.deadlines import DEADLINE, Deadlines
from serving.api.pages import answer_error
from serving.api.traffic import HEALTH_PATHS, Traffic
from serving.errors import RequestError

TIMEOUT_SECONDS = 10
"""Shorter than the gateway's read timeout of 15 s, so that a slow request ends here with a reason."""

MAX_CONCURRENCY = 512
"""Requests under way at once; more get 429 instead of a place in a queue that only grows."""

OWN_PATHS = frozenset({"/predict", "/readyz", "/schema.json"})
OWN_FOLDERS = ("/models/", "/v2/")
"""Paths that go to our app at once. BentoML would otherwise serve two of them itself."""


class MountedApp:
    """The place in BentoML's app that the real app takes when the service starts."""

    def __init__(self) -> None:
        self.app: ASGIApp = Response(status_code=503)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request to the current app."""
        await self.app(scope, receive, send)


class Front:
    """Counts and limits requests, and chooses the app that answers: ours, or the one that BentoML has built.

    >>> Front(framework_app, mounted_app, Traffic())
    """

    def __init__(
        self,
        framework: ASGIApp,
        mounted: MountedApp,
        traffic: Traffic,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        max_concurrency: int = MAX_CONCURRENCY,
    ) -> None:
        self.framework = framework
        self._mounted = mounted
        self._traffic = traffic
        self._deadlines = Deadlines(timeout_seconds)
        self._max_concurrency = self._free = max_concurrency

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request, or what the server has to say about its own start and end."""
        if scope["type"] != "http":
            await self.framework(scope, receive, send)
            return
        started, ended, status = perf_counter(), 0.0, 0
        label = self._traffic.begin(scope["path"])
        deadline = scope[DEADLINE] = self._deadlines.begin()

        async def send_in_time(message: Message) -> None:
            nonlocal ended, status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._deadlines.end(deadline)
            elif not message.get("more_body"):
                ended = perf_counter()  # a client that reads slowly is no load
            await send(message)

        try:
            await self._limit(scope, receive, send_in_time)
        except asyncio.CancelledError:
            if not deadline.uncancel():
                raise
            await answer_error(deadline.describe())(scope, receive, send_in_time)
        finally:
            self._deadlines.end(deadline)
            self._traffic.end(label, status, (ended or perf_counter()) - started)

    async def _limit(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends 429 to requests beyond some at once, except those that ask after the replica's health."""
        path = scope["path"]
        is_own = path in OWN_PATHS or path.startswith(OWN_FOLDERS)
        app = self._mounted.app if is_own else self.framework
        if path in HEALTH_PATHS:
            await app(scope, receive, send)
            return
        if not self._free:
            found = f"found {self._max_concurrency} under way, expected fewer"
            await answer_error(RequestError(429, f"request: {found}; send it again in a second"))(scope, receive, send)
            return
        self._free -= 1
        try:
            await app(scope, receive, send)
        finally:
            self._free += 1
