"""The HTTP side of the service: one short path for predictions, a Starlette app for everything else."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass
from time import perf_counter
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from serving.errors import RequestError
from serving.follower import Follower
from serving.inference_pages import pick_version, render_inference_error
from serving.metrics import LIVE, REPLAY, PredictionMetrics
from serving.pages import JSON, render_error
from serving.rows import MAX_BODY_BYTES
from serving.served import ServedModel

TRUTHS = {"true": True, "1": True, "false": False, "0": False}

SERVER_FAILED = RequestError(500, "the server failed; its log has more")

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
        asked = self._route(scope["path"]) if scope["type"] == "http" else None
        if asked is None:
            await self._pages(scope, receive, send)
            return
        request_id = os.urandom(16).hex().encode()
        served = None
        try:
            served = await self._read(asked, scope, receive)
            status, body = 200, await self._answer(asked, served, request_id)
        except ClientGoneError:
            return
        except RequestError as error:
            status, body = _render(error, asked, request_id)
        except Exception:  # the edge of the process: the client gets an id, the log gets the traceback
            logger.exception("request %s failed", request_id.decode())
            status, body = _render(SERVER_FAILED, asked, request_id)
        headers = [(b"content-type", JSON), (b"x-request-id", request_id), (b"content-length", b"%d" % len(body))]
        if status != 200:
            self._metrics.count_refusal(status)
            headers += _extra_headers(status)
            served = served or self._follower.pick(asked.name, wants_challenger=asked.wants_challenger)
        if served is not None:
            headers.append((b"x-model-version", served.header))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _route(self, path: str) -> Asked | None:
        """What a path asks, or None where it asks for no prediction."""
        if path == "/predict":
            return Asked(self._default_model)
        match path.split("/"):
            case ["", "models", name, "predict"] if name:
                return Asked(name)
            case ["", "v2", "models", name, "infer"] if name:
                return Asked(name, is_inference=True)
            case ["", "v2", "models", name, "versions", version, "infer"] if name:
                return Asked(name, version, is_inference=True)
        return None

    async def _read(self, asked: Asked, scope: Scope, receive: Receive) -> ServedModel:
        """Reads the request, and chooses the version that answers it."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        asked.wants_challenger = headers.get(b"x-pool") == b"canary"
        if headers.get(b"x-replay") == b"1":
            asked.traffic = REPLAY
        if scope["method"] != "POST":
            raise RequestError(405, f"method: found {scope['method']}, expected POST")
        if not self._follower.is_allowed(asked.name):
            raise RequestError(404, f"model: found {asked.name[:100]!r}, expected one that GET /models lists")
        _check_content(headers, is_inference=asked.is_inference)
        asked.with_probabilities = bool(scope["query_string"]) and _wants_probabilities(scope["query_string"])
        asked.body = await _read_body(headers, receive)
        return pick_version(self._follower, asked.name, asked.version, wants_challenger=asked.wants_challenger)

    async def _answer(self, asked: Asked, served: ServedModel, request_id: bytes) -> bytes:
        """Answers, and counts how that went."""
        started = perf_counter()
        try:
            if asked.is_inference:
                answer = await served.infer(asked.body, request_id)
            else:
                answer = await served.answer(asked.body, request_id, with_probabilities=asked.with_probabilities)
        except RequestError:
            raise
        except (Exception, asyncio.CancelledError):  # cancelled is what is out of time
            self._metrics.count_failure(served, asked.traffic)
            raise
        self._metrics.observe(served, asked.traffic, perf_counter() - started, answer.tally)
        return answer.body


@dataclass(slots=True)
class Asked:
    """One request for a prediction, as far as it was read."""

    name: str
    version: str | None = None
    is_inference: bool = False
    wants_challenger: bool = False
    traffic: str = LIVE
    with_probabilities: bool = False
    body: bytes = b""


class ClientGoneError(Exception):
    """The client closed its connection before its request was complete: nobody waits for an answer."""


def _render(error: RequestError, asked: Asked, request_id: bytes) -> tuple[int, bytes]:
    """Status and body of an error: those of the protocol in which the request came."""
    if asked.is_inference:
        return 400 if error.status == 422 else error.status, render_inference_error(error)
    return error.status, render_error(error, request_id.decode())


def _check_content(headers: dict[bytes, bytes], *, is_inference: bool) -> None:
    # Clients of the protocol leave it out, as its requests are JSON by definition.
    media_type = headers.get(b"content-type", b"application/json" if is_inference else b"")
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
