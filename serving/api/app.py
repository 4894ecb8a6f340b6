"""The HTTP side of the service: one short path for predictions, a Starlette app for everything else."""

from __future__ import annotations

import asyncio
import logging
import os
from time import perf_counter
from typing import Any

from starlette.types import Receive, Scope, Send

from serving.answering.room import Room
from serving.answering.served import ServedModel
from serving.api.inference_pages import render_inference_error
from serving.api.metrics import PredictionMetrics
from serving.api.pages import JSON, render_error
from serving.api.request import Asked, ClientGoneError, check_content, pick_version, read_body, read_query, read_size
from serving.errors import INFERENCE_STATUSES, STATUS_HEADERS, RequestError
from serving.figures import REPLAY
from serving.following.follower import Follower
from serving.limits import LARGE_BYTES, LARGE_RESPONSE_BYTES
from serving.quoting import shorten

SERVER_FAILED = RequestError(500, "the server failed; its log has more")

logger = logging.getLogger("serving")


class PredictionApp:
    """An ASGI app that serves predictions and passes all other paths to `pages`.

    >>> PredictionApp(follower, metrics, default_model="iris", pages=make_pages(…))
    """

    def __init__(self, follower: Follower, metrics: PredictionMetrics, *, default_model: str, pages: Any) -> None:
        self._follower = follower
        self._metrics = metrics
        self._default_model = default_model
        self._pages = pages
        self.room = Room()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        asked = self._route(scope["path"]) if scope["type"] == "http" else None
        if asked is None:
            await self._pages(scope, receive, send)
            return
        try:
            await self._serve(asked, scope, receive, send)
        finally:
            if asked.held_bytes:
                self.room.leave(asked.held_bytes)

    async def _serve(self, asked: Asked, scope: Scope, receive: Receive, send: Send) -> None:
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
            headers += [STATUS_HEADERS[status]] if status in STATUS_HEADERS else []
            served = served or self._follower.pick(asked.name, wants_challenger=asked.wants_challenger)
        if served is not None:
            headers.append((b"x-model-version", served.header))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _route(self, path: str) -> Asked | None:
        """The prediction that a path is for; None for any other path."""
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
            raise RequestError(405, f"method: found {shorten(scope['method'])}, expected POST")
        if not self._follower.is_allowed(asked.name):
            raise RequestError(404, f"model: found {shorten(asked.name)!r}, expected one that GET /models lists")
        check_content(headers, is_inference=asked.is_inference)
        if query := scope["query_string"]:
            asked.with_probabilities = read_query(query, is_inference=asked.is_inference)
        if (size_bytes := read_size(headers)) > LARGE_BYTES:
            self._hold(asked, size_bytes)
        asked.body = await read_body(receive)
        return pick_version(self._follower, asked.name, asked.version, wants_challenger=asked.wants_challenger)

    async def _answer(self, asked: Asked, served: ServedModel, request_id: bytes) -> bytes:
        """Computes the response, and counts its outcome."""
        started, is_replay = perf_counter(), asked.traffic == REPLAY
        try:
            if asked.is_inference:
                answer = await served.infer(asked.body, request_id, is_replay=is_replay, room=self.room)
            else:
                answer = await served.answer(
                    asked.body,
                    request_id,
                    with_probabilities=asked.with_probabilities,
                    is_replay=is_replay,
                    room=self.room,
                )
            if len(answer.body) > LARGE_RESPONSE_BYTES:
                self._hold(asked, len(answer.body))
        except RequestError:
            raise
        except (Exception, asyncio.CancelledError):  # a request out of time is cancelled
            self._metrics.count_failure(served, asked.traffic)
            raise
        self._metrics.observe(served, asked.traffic, perf_counter() - started, answer.tally)
        return answer.body

    def _hold(self, asked: Asked, size_bytes: int) -> None:
        self.room.hold(size_bytes, asked.held_bytes)
        asked.held_bytes += size_bytes


def _render(error: RequestError, asked: Asked, request_id: bytes) -> tuple[int, bytes]:
    """Status and body of an error: those of the protocol in which the request came."""
    if asked.is_inference:
        return error.status if error.status in INFERENCE_STATUSES else 400, render_inference_error(error)
    return error.status, render_error(error, request_id.decode())
