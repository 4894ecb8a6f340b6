"""The HTTP side of the service: one short path for predictions, a Starlette app for everything else."""

from __future__ import annotations

import logging
import os
from time import perf_counter
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from serving.errors import RequestError
from serving.follower import Follower
from serving.metrics import PredictionMetrics
from serving.pages import JSON, render_error
from serving.rows import MAX_BODY_BYTES
from serving.served import ServedModel

TRUTHS = {"true": True, "1": True, "false": False, "0": False}

logger = logging.getLogger("serving")


class PredictionApp:
    """An ASGI app that answers predictions and hands all other paths on.

    >>> PredictionApp(follower, metrics, default_model="iris", pages=make_pages(…))
    """

    def __init__(self, follower: Follower, metrics: PredictionMetrics, *, default_model: str, pages: Any) -> None:
        self._follower = follower
        self._metrics = metrics
        self._default_model = default_model
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one connection's request."""
        name = self._find_name(scope["path"]) if scope["type"] == "http" else None
        if name is None:
            await self._pages(scope, receive, send)
            return
        started = perf_counter()
        request_id = os.urandom(16).hex().encode()
        headers = [(b"content-type", JSON), (b"x-request-id", request_id)]
        try:
            served, body = await self._predict(name, scope, receive, request_id)
            status = 200
            headers.append((b"x-model-version", served.header))
            self._metrics.observe(served, perf_counter() - started)
        except ClientGoneError:
            return
        except RequestError as error:
            status, body = error.status, render_error(error, request_id.decode())
            headers += _extra_headers(status)
            self._metrics.count_refusal(status)
        except Exception:  # the edge of the process: the client gets an id, the log gets the traceback
            logger.exception("request %s failed", request_id.decode())
            status, body = (
                500,
                render_error(RequestError(500, "the server failed; its log has more"), request_id.decode()),
            )
            self._metrics.count_refusal(status)
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _find_name(self, path: str) -> str | None:
        """The model that a path asks, or None where the path asks for no prediction."""
        if path == "/predict":
            return self._default_model
        if path.startswith("/models/") and path.endswith("/predict"):
            name = path[len("/models/") : -len("/predict")]
            return name if name and "/" not in name else None
        return None

    async def _predict(self, name: str, scope: Scope, receive: Receive, request_id: bytes) -> tuple[ServedModel, bytes]:
        if scope["method"] != "POST":
            raise RequestError(405, f"method: found {scope['method']}, expected POST")
        if not self._follower.is_allowed(name):
            raise RequestError(404, f"model: found {name[:100]!r}, expected one that GET /models lists")
        headers: dict[bytes, bytes] = dict(scope["headers"])
        _check_content(headers)
        with_probabilities = bool(scope["query_string"]) and _wants_probabilities(scope["query_string"])
        body = await _read_body(headers, receive)
        served = self._follower.pick(name, wants_challenger=headers.get(b"x-pool") == b"canary")
        if served is None:
            raise RequestError(503, f"model {name}: found no version that can answer, expected a champion; train one")
        return served, await served.answer(body, request_id, with_probabilities=with_probabilities)


class ClientGoneError(Exception):
    """The client closed its connection before its request was complete: nobody waits for an answer."""


def _check_content(headers: dict[bytes, bytes]) -> None:
    media_type = headers.get(b"content-type", b"")
    if media_type != b"application/json" and media_type.split(b";")[0].strip().lower() != b"application/json":
        found = media_type[:100].decode("latin-1") or "none"
        raise RequestError(415, f"content type: found {found}, expected application/json")
    encoding = headers.get(b"content-encoding", b"identity")
    if encoding.lower() != b"identity":
        found = encoding[:100].decode("latin-1")
        raise RequestError(415, f"content encoding: found {found}, expected none; send the JSON as it is")


def _wants_probabilities(query: bytes) -> bool:
    wanted = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)).get("probabilities", "false")
    if wanted.lower() not in TRUTHS:
        raise RequestError(422, f"probabilities: found {wanted[:50]!r}, expected true or false")
    return TRUTHS[wanted.lower()]


async def _read_body(headers: dict[bytes, bytes], receive: Receive) -> bytes:
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length) > MAX_BODY_BYTES:
        raise _too_large()
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body", False):
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    if len(body) > MAX_BODY_BYTES:
        raise _too_large()
    return body


def _too_large() -> RequestError:
    return RequestError(413, f"body: found more than {MAX_BODY_BYTES} bytes, expected at most that; send it in parts")


def _extra_headers(status: int) -> list[tuple[bytes, bytes]]:
    if status == 405:
        return [(b"allow", b"POST")]
    return [(b"retry-after", b"2")] if status == 503 else []
