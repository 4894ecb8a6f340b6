"""The HTTP side of the service: one short path for predictions, a Starlette app for everything else."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any

from starlette.types import Receive, Scope, Send

from ml_code.monitoring.prediction_log.blocks import make_request_id
from serving.answering.room import Room
from serving.answering.served import Answer, ServedModel, Timer
from serving.answering.shadow import Shadows
from serving.api.evidence import Drawn, EvidenceBook
from serving.api.inference_pages import render_inference_error
from serving.api.metrics import PredictionMetrics
from serving.api.pages import JSON, render_error
from serving.api.prediction_log import PredictionLog
from serving.api.request import Asked, ClientGoneError, check_content, pick_version, read_body, read_query, read_size
from serving.errors import INFERENCE_STATUSES, STATUS_HEADERS, RequestError
from serving.figures import ASKED, PROBE, REPLAY
from serving.following.follower import Follower
from serving.following.share import is_in_share
from serving.limits import LARGE_BYTES, LARGE_RESPONSE_BYTES, OBJECT_BYTES
from serving.quoting import shorten
from serving.registry.names import CHALLENGER, CHAMPION

SERVER_FAILED = RequestError(500, "the server failed; its log has more")

REFUSALS = frozenset({400, 422})
"""Statuses of rows that a version refuses."""

logger = logging.getLogger("serving")


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
    ) -> None:
        self._follower = follower
        self._metrics = metrics
        self._default_model = default_model
        self._pages = pages
        self._evidence = evidence or EvidenceBook()
        self._log = log
        self._shadows = shadows
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
        request_id = make_request_id().encode()
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
        asked.client_id, asked.user = headers.get(b"x-client-request-id"), headers.get(b"x-user-id")
        asked.wants_challenger = headers.get(b"x-pool") == b"canary"
        # Most requests are drawn for the stable pool, and say nothing more.
        if asked.wants_challenger or b"x-replay" in headers or headers.get(b"x-pool-choice", b"drawn") != b"drawn":
            self._read_origin(asked, headers)
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

    def _read_origin(self, asked: Asked, headers: dict[bytes, bytes]) -> None:
        """Reads who sent the request, and whether the gateway chose its pool; clients cannot set these headers."""
        choice, word = headers.get(b"x-pool-choice"), headers.get(b"x-replay")
        if choice == b"probe":
            asked.traffic, asked.wants_challenger = PROBE, False
        elif word is not None:
            registered = self._follower.registered.get(asked.name)
            asked.traffic = REPLAY if registered and registered.is_replay(word) else ASKED
        elif choice == b"asked":
            asked.traffic = ASKED
        elif choice == b"drawn" and asked.wants_challenger:
            user = headers.get(b"x-user-id", b"")
            asked.wants_challenger = self._is_in_share(asked.name, user or headers.get(b"x-request-id", b""))
            if asked.wants_challenger:
                asked.sender = headers.get(b"x-forwarded-for", b""), user

    def _is_in_share(self, name: str, unit: bytes) -> bool:
        registered = self._follower.registered.get(name)
        if registered is None or registered.canary_share >= 100:
            return True
        return is_in_share(name, registered.aliases.get(CHALLENGER, ""), unit, registered.canary_share)

    async def _answer(self, asked: Asked, served: ServedModel, request_id: bytes) -> bytes:
        """Computes the response, and counts its outcome."""
        timer = Timer()
        try:
            answer = await self._ask(asked, request_id, served, timer)
            if len(answer.body) > LARGE_RESPONSE_BYTES:
                self._hold(asked, len(answer.body))
        except RequestError as error:
            # Clients may have to send other features to the next version; where they need not, it reads the same rows.
            if error.status in REFUSALS:
                self._keep(asked, served, request_id, timer, None)
                if asked.sender and self._reads_like_champion(served):
                    self._note(asked, asked.sender, served, None, timer)
            raise
        except (Exception, asyncio.CancelledError):  # a request out of time is cancelled
            # One that waited behind others all the time is not the version's failure.
            if timer.begun_at is not None:
                self._metrics.count_failure(served, asked.traffic)
                if asked.sender:
                    self._note(asked, asked.sender, served, None, timer)
            raise
        self._metrics.observe(served, asked.traffic, timer.seconds, answer.tally)
        self._keep(asked, served, request_id, timer, answer)
        if asked.sender:
            self._note(asked, asked.sender, served, answer, timer)
        return answer.body

    async def _ask(self, asked: Asked, request_id: bytes, served: ServedModel, timer: Timer) -> Answer:
        is_replay = asked.traffic == REPLAY
        if asked.is_inference:
            return await served.infer(asked.body, request_id, is_replay=is_replay, room=self.room, timer=timer)
        return await served.answer(
            asked.body,
            request_id,
            with_probabilities=asked.with_probabilities,
            is_replay=is_replay,
            room=self.room,
            timer=timer,
        )

    def _reads_like_champion(self, served: ServedModel) -> bool:
        champion = self._follower.pick(served.identity.name, wants_challenger=False)
        return champion is not None and served.reads_like(champion)

    def _note(
        self,
        asked: Asked,
        sender: tuple[bytes, bytes],
        served: ServedModel,
        answer: Answer | None,
        timer: Timer,
    ) -> None:
        """Takes a drawn request of a canary as evidence."""
        registered = self._follower.registered.get(asked.name)
        if served.variant != CHALLENGER or not registered or not registered.replay_mark:
            return
        champion = self._follower.pick(asked.name, wants_challenger=False)
        drawn = Drawn(*sender, asked.body, partial(self._ask, asked, b""))
        self._evidence.note(drawn, served, champion, registered.replay_mark, answer, timer.seconds)

    def _keep(self, asked: Asked, served: ServedModel, request_id: bytes, timer: Timer, answer: Answer | None) -> None:
        """Takes a request that was answered, or refused, for the prediction log."""
        if self._log is None or asked.traffic == PROBE:
            return
        client_id, size_bytes, rows, prediction = asked.client_id, len(asked.body) * OBJECT_BYTES, None, None
        if answer is not None and (prediction := answer.prediction) is not None:
            rows = answer.rows
            if prediction.probabilities is not None:
                size_bytes += prediction.probabilities.nbytes
            if client_id is None and answer.client_id is not None:
                client_id = answer.client_id.encode()
        known = (served, asked.traffic, request_id.decode(), client_id, asked.user)
        entry = (*known, timer.seconds, size_bytes, rows or (), prediction)
        self._log.note(entry)
        if self._shadows is not None and prediction is not None and served.variant == CHAMPION:
            self._shadows.note(entry)

    def _hold(self, asked: Asked, size_bytes: int) -> None:
        self.room.hold(size_bytes, asked.held_bytes)
        asked.held_bytes += size_bytes


def _render(error: RequestError, asked: Asked, request_id: bytes) -> tuple[int, bytes]:
    """Status and body of an error: those of the protocol in which the request came."""
    if asked.is_inference:
        return error.status if error.status in INFERENCE_STATUSES else 400, render_inference_error(error)
    return error.status, render_error(error, request_id.decode())
