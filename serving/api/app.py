"""The HTTP side of the service: one short path for predictions, a Starlette app for everything else."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any

from starlette.types import Receive, Scope, Send

from ml_code.monitoring.prediction_log.blocks import make_request_id
from serving.answering.served import ServedModel
from serving.answering.shadow import Shadows
from serving.answering.wire import JSON_WIRE
from serving.api.deadlines import DEADLINE, Deadline
from serving.api.evidence import EvidenceBook
from serving.api.inference_pages import render_inference_error
from serving.api.metrics import PredictionMetrics
from serving.api.pages import render_error
from serving.api.prediction_log import PredictionLog
from serving.api.predictions import Predictions
from serving.api.request import (
    BINARY,
    JSON,
    JSON_LENGTH,
    Asked,
    ClientGoneError,
    check_content,
    choose_wire,
    read_body,
    read_query,
    read_size,
)
from serving.api.request_lines import RequestLines
from serving.api.spans import RequestSpans
from serving.errors import SERVER_FAILED, STATUS_HEADERS, RequestError, find_inference_status
from serving.following.follower import Follower
from serving.limits import LARGE_BYTES
from serving.quoting import shorten


class PredictionApp:
    """An ASGI app that serves predictions and passes all other paths to `pages`.

    >>> PredictionApp(follower, metrics, default_model="iris", pages=make_pages(…))
    """

    def __init__(
        self,
        follower: Follower,
        metrics: PredictionMetrics,
        *,
        default_model: str,
        pages: Any,
        evidence: EvidenceBook | None = None,
        log: PredictionLog | None = None,
        shadows: Shadows | None = None,
        spans: RequestSpans | None = None,
    ) -> None:
        self._default_model = default_model
        self._pages = pages
        self.predictions = Predictions(follower, metrics, evidence=evidence, log=log, shadows=shadows)
        self._lines = RequestLines()
        self._spans = spans

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        asked = self._route(scope["path"]) if scope["type"] == "http" else None
        if asked is None:
            await self._pages(scope, receive, send)
            return
        try:
            await self._serve(asked, scope, receive, send)
        finally:
            self.predictions.leave(asked)

    async def _serve(self, asked: Asked, scope: Scope, receive: Receive, send: Send) -> None:
        request_id, started = make_request_id().encode(), perf_counter()
        served = None
        content_type, json_bytes = JSON, 0
        try:
            served = await self._read(asked, scope, receive)
            answer = await self.predictions.answer(asked, served, request_id)
            status, body, json_bytes = 200, answer.body, answer.json_bytes
        except ClientGoneError:
            return
        except RequestError as error:
            status, body = _render(error, asked, request_id)
        except asyncio.CancelledError:
            status, body = _render(_find_late(scope, served), asked, request_id)
        except Exception as error:  # the edge of the process: the client gets an id, the log gets the traceback
            self._lines.fail(asked, request_id, error)
            status, body = _render(SERVER_FAILED, asked, request_id)
        if json_bytes:
            content_type = BINARY
        headers = [
            (b"content-type", content_type),
            (b"x-request-id", request_id),
            (b"content-length", b"%d" % len(body)),
        ]
        if json_bytes:
            headers.append((JSON_LENGTH, b"%d" % json_bytes))
        if status != 200:
            self.predictions.metrics.count_refusal(status)
            headers += [STATUS_HEADERS[status]] if status in STATUS_HEADERS else []
            follower = self.predictions.follower
            served = served or follower.pick(asked.name, wants_challenger=asked.wants_challenger)
        if served is not None:
            headers.append((b"x-model-version", served.header))
        ended = perf_counter()  # the second `send` ends when the client has read the body
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self._lines.note(asked, request_id, status, served, ended - started)
        if self._spans is not None:
            protocol = {"http.request.method": scope["method"], "http.response.status_code": status}
            self._spans.note(asked, request_id, status, served, protocol, started=started, ended=ended)

    def _route(self, path: str) -> Asked | None:
        """The prediction that a path is for; None for any other path."""
        if path == "/predict":
            return Asked(self._default_model)
        match path.split("/"):
            case ["", "models", name, "predict"] if name:
                return Asked(name)
            case ["", "v2", "models", name, "infer"] if name:
                return Asked(name, wire=JSON_WIRE)
            case ["", "v2", "models", name, "versions", version, "infer"] if name:
                return Asked(name, version, wire=JSON_WIRE)
        return None

    async def _read(self, asked: Asked, scope: Scope, receive: Receive) -> ServedModel:
        """Reads the request, and chooses the version that answers it."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        self.predictions.read_sender(asked, headers)
        if scope["method"] != "POST":
            raise RequestError(405, f"method: found {shorten(scope['method'])}, expected POST")
        self.predictions.check_name(asked)
        check_content(headers, is_inference=asked.wire is not None)
        if asked.wire is not None:
            asked.wire = choose_wire(headers)
        if query := scope["query_string"]:
            asked.with_probabilities = read_query(query, is_inference=asked.wire is not None)
        if (size_bytes := read_size(headers)) > LARGE_BYTES:
            self.predictions.hold(asked, size_bytes)
        asked.body = await read_body(receive)
        return self.predictions.pick(asked)


def _find_late(scope: Scope, served: ServedModel | None) -> RequestError:
    """The error of a request that its deadline has cancelled; raises again what else has cancelled it.

    A body that did not arrive in time is not a failure of the server: the front refuses it, uncounted.
    """
    deadline: Deadline | None = scope.get(DEADLINE)
    if served is None or deadline is None or not deadline.uncancel():
        raise  # noqa: PLE0704  called where it is handled
    return deadline.describe()


def _render(error: RequestError, asked: Asked, request_id: bytes) -> tuple[int, bytes]:
    """Status and body of an error: those of the protocol in which the request came."""
    if asked.wire is not None:
        return find_inference_status(error.status), render_inference_error(error)
    return error.status, render_error(error, request_id.decode())
