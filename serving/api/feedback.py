"""`POST /feedback`: takes labels of earlier predictions, and confirms them when the disk has them.

All labels that arrive while one write goes to the disk are written together by the next one. So a slow disk delays
labels, and never predictions.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ml_code.errors import UncollectedError
from ml_code.monitoring.feedback.events import MOST_LABELS, Event, Flaw, read_item, render_event
from ml_code.monitoring.prediction_log.blocks import make_request_id
from ml_code.segments import SEGMENT_SECONDS
from serving.answering.rows import load_json
from serving.api.request import ClientGoneError, check_content, read_body, read_query, read_size
from serving.errors import Problem, RequestError
from serving.limits import LARGE_BYTES
from serving.quoting import Quotes, shorten

PATH = "/feedback"

TOKEN_HEADER = b"x-token-name"
"""Name of the token with which the gateway let the labels pass; the gateway sets it, whatever a client sent."""

MOST_BYTES = 8_000_000
"""Bodies under way at once, and lines that wait for the disk, each."""

ENDING = "feedback: this replica ends; send the labels again"

MOST_PROBLEMS = 20
"""Problems that a response names."""


class Lines(Protocol):
    """Where the labels go: a `SegmentWriter`."""

    def write(self, lines: bytes) -> None:
        """Appends whole lines, or none."""

    def sync(self) -> None:
        """Returns when the disk has them."""

    def close(self) -> None:
        """Ends the segment; a later line begins another one."""


class FeedbackDesk:
    """Writes labels to segments, all in one thread.

    >>> desk = FeedbackDesk(SegmentWriter(folder, "stable-a1b2c3"))
    >>> await desk.keep(lines)
    """

    def __init__(self, lines: Lines, *, segment_seconds: float = SEGMENT_SECONDS, most_bytes: int = MOST_BYTES) -> None:
        self._lines = lines
        self._segment_seconds = segment_seconds
        self._most_bytes = most_bytes
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feedback")
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._waiting_bytes = 0
        self._body_bytes = 0
        self._is_closed = False
        self._writing: asyncio.Task[None] | None = None
        self._ending: asyncio.TimerHandle | None = None

    async def take(self, request: Request) -> int:
        """Reads the labels of a request, and returns their number when the disk has them.

        Raises:
            RequestError: the request or a label is not valid, or they cannot be written now.
            ClientGoneError: the client closed its connection.
        """
        headers: dict[bytes, bytes] = dict(request.scope["headers"])
        check_content(headers, is_inference=False)
        read_query(request.scope["query_string"], is_inference=True)
        size_bytes = read_size(headers)
        if self._body_bytes + size_bytes > self._most_bytes:
            raise RequestError(429, "feedback: found too many labels under way; send them again in a second")
        self._body_bytes += size_bytes
        try:
            body, token = await read_body(request.receive), headers.get(TOKEN_HEADER, b"").decode("latin-1")
            if len(body) > LARGE_BYTES:
                events = await asyncio.to_thread(read_labels, body, token or None)
            else:
                events = read_labels(body, token or None)
            await self.keep(b"".join(map(render_event, events)))
        finally:
            self._body_bytes -= size_bytes
        return len(events)

    async def keep(self, lines: bytes) -> None:
        """Returns when the disk has the lines.

        Raises:
            RequestError: 429 where too many wait, 503 where the disk refuses.
        """
        if self._is_closed:
            raise RequestError(503, ENDING)
        if self._waiting_bytes + len(lines) > self._most_bytes:
            raise RequestError(429, "feedback: found too many labels that wait for the disk; send them again later")
        written = asyncio.get_running_loop().create_future()
        self._waiting.append((lines, written))
        self._waiting_bytes += len(lines)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all())
        await written

    def close(self) -> None:
        """Ends the segment of a replica that stops; labels that no write has begun for are refused."""
        self._is_closed = True
        if self._ending is not None:
            self._ending.cancel()
        self._thread.submit(self._lines.close)
        self._thread.shutdown()

    async def _write_all(self) -> None:
        while self._waiting:
            together, self._waiting, self._waiting_bytes = self._waiting, [], 0
            error = await self._write(b"".join(lines for lines, _ in together))
            for _, written in together:
                if written.done():  # its request ran out of time
                    continue
                if error is None:
                    written.set_result(None)
                else:
                    written.set_exception(error)

    async def _write(self, lines: bytes) -> RequestError | None:
        if self._is_closed:  # its thread takes nothing more
            return RequestError(503, ENDING)
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._sync, lines)
        except (OSError, UncollectedError) as error:
            return RequestError(503, f"feedback: the labels could not be written ({error}); send them again later")
        if self._ending is None and not self._is_closed:
            # A collection takes only segments that nobody writes, so one ends even if no further label comes.
            self._ending = loop.call_later(self._segment_seconds, self._end_segment)
        return None

    def _sync(self, lines: bytes) -> None:
        self._lines.write(lines)
        self._lines.sync()

    def _end_segment(self) -> None:
        self._ending = None
        self._thread.submit(self._lines.close)


def read_labels(body: bytes, token: str | None) -> list[Event]:
    """The labels of a body: one object, or an array of them.

    Raises:
        RequestError: the body is not JSON (400), or has no labels, too many, or one that is not valid (422).
    """
    if not body:
        raise RequestError(400, "body: found nothing, expected a label or an array of labels")
    items = load_json(body, "a label or an array of labels")
    items = items if isinstance(items, list) else [items]
    if not 0 < len(items) <= MOST_LABELS:
        raise RequestError(
            422, f"body: found {len(items)} labels, expected 1 to {MOST_LABELS}; send them in parts, or as a CSV file"
        )
    received_ms = time.time_ns() // 1_000_000
    found = [read_item(item, received_ms) for item in items]
    _refuse_flaws(found)
    return [
        Event(**members, received_at=received_ms, token=token, event=make_request_id())
        for members in found
        if not isinstance(members, Flaw)
    ]


def make_feedback_route(desk: FeedbackDesk | None) -> Route:
    """The route; without a desk it refuses."""

    async def take_labels(request: Request) -> Response:
        if desk is None:
            raise RequestError(503, "feedback: this replica has no folder for labels; set SERVING_PREDICTION_LOG_DIR")
        try:
            taken = await desk.take(request)
        except ClientGoneError:
            return Response(status_code=400)
        request_id = make_request_id()
        content = orjson.dumps({"taken": taken, "request_id": request_id})
        return Response(content, 202, {"x-request-id": request_id}, media_type="application/json")

    return Route(PATH, take_labels, methods=["POST"])


def describe_feedback() -> dict[str, Any]:
    """The path's operation in OpenAPI."""
    label = {
        "type": "object",
        "required": ["label"],
        "additionalProperties": False,
        "description": "with request_id or client_request_id",
        "properties": {
            "request_id": {"type": "string", "description": "X-Request-Id of the answer"},
            "client_request_id": {"type": "string", "description": "X-Request-Id that the client sent"},
            "row": {"type": "integer", "minimum": 0, "default": 0, "description": "number of the row, from 0"},
            "label": {"type": ["number", "string", "boolean"], "description": "what the model should have answered"},
            "observed_at": {"type": ["string", "null"], "format": "date-time"},
        },
    }
    body = {"oneOf": [label, {"type": "array", "minItems": 1, "maxItems": MOST_LABELS, "items": label}]}
    taken = {"type": "object", "required": ["taken", "request_id"], "properties": {"taken": {"type": "integer"}}}
    return {
        "operationId": "send_feedback",
        "summary": "Send the true labels of earlier predictions",
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"202": {"description": "The disk has them", "content": {"application/json": {"schema": taken}}}},
    }


def _refuse_flaws(found: Sequence[Any]) -> None:
    flaws = [(number, flaw) for number, flaw in enumerate(found) if isinstance(flaw, Flaw)]
    if flaws:
        quotes = Quotes()
        problems = tuple(
            Problem(number, field and quotes.quote(shorten(field)), problem)
            for number, (field, problem) in flaws[:MOST_PROBLEMS]
        )
        raise RequestError(
            422, f"labels: found {len(flaws)} that are not valid, expected none; nothing is kept", problems
        )
