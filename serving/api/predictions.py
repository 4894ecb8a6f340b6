"""What a replica does with a request for a prediction, whatever the protocol that brought it.

It reads the sender, picks the version, computes the answer, and counts, compares and logs it.
"""

from __future__ import annotations

import asyncio
from functools import partial

import numpy as np

from serving.answering.room import Room
from serving.answering.served import Answer, ServedModel, Timer
from serving.answering.shadow import Shadows
from serving.api.evidence import Drawn, EvidenceBook
from serving.api.metrics import PredictionMetrics
from serving.api.prediction_log import PredictionLog
from serving.api.request import Asked, pick_version
from serving.errors import RequestError
from serving.figures import ASKED, PROBE, REPLAY
from serving.following.follower import Follower
from serving.following.share import is_in_share
from serving.limits import LARGE_RESPONSE_BYTES, OBJECT_BYTES
from serving.quoting import show
from serving.registry.names import CHALLENGER, CHAMPION

REFUSALS = frozenset({400, 422})
"""Statuses of rows that a version refuses."""


class Predictions:
    """Answers requests with the versions of one replica.

    >>> predictions.read_sender(asked, headers)
    >>> served = predictions.pick(asked)
    >>> (await predictions.answer(asked, served, request_id)).body
    """

    def __init__(
        self,
        follower: Follower,
        metrics: PredictionMetrics,
        *,
        evidence: EvidenceBook | None = None,
        log: PredictionLog | None = None,
        shadows: Shadows | None = None,
    ) -> None:
        self.follower = follower
        self.metrics = metrics
        self._evidence = evidence or EvidenceBook()
        self._log = log
        self._shadows = shadows
        self.room = Room()

    def read_sender(self, asked: Asked, headers: dict[bytes, bytes]) -> None:
        """Reads who sent the request, and whether the gateway chose its pool; clients cannot set these headers."""
        asked.client_id, asked.user = headers.get(b"x-client-request-id"), headers.get(b"x-user-id")
        asked.traceparent, asked.gateway_id = headers.get(b"traceparent"), headers.get(b"x-request-id")
        asked.wants_challenger = headers.get(b"x-pool") == b"canary"
        # Most requests are drawn for the stable pool, and say nothing more.
        if asked.wants_challenger or b"x-replay" in headers or headers.get(b"x-pool-choice", b"drawn") != b"drawn":
            self._read_origin(asked, headers)

    def check_name(self, asked: Asked) -> None:
        """Checks that the model may serve.

        Raises:
            RequestError: 404 where it may not.
        """
        if not self.follower.is_allowed(asked.name):
            raise RequestError(404, f"model: found {show(asked.name)}, expected one that GET /models lists")

    def pick(self, asked: Asked) -> ServedModel:
        """The version that answers.

        Raises:
            RequestError: 404 where the model or version does not exist, 503 where no version can answer.
        """
        return pick_version(self.follower, asked.name, asked.version, wants_challenger=asked.wants_challenger)

    def hold(self, asked: Asked, size_bytes: int) -> None:
        """Counts the bytes of a large request or response until `leave`.

        Raises:
            RequestError: 429 where there is no room for them.
        """
        self.room.hold(size_bytes, asked.held_bytes)
        asked.held_bytes += size_bytes

    def leave(self, asked: Asked) -> None:
        """Ends a request."""
        if asked.held_bytes:
            self.room.leave(asked.held_bytes)
            asked.held_bytes = 0

    async def answer(self, asked: Asked, served: ServedModel, request_id: bytes) -> Answer:
        """Computes the response, and counts its outcome.

        Raises:
            RequestError: its rows do not fit the model, or there is no room for it.
        """
        timer = asked.timer = Timer()
        try:
            answer = await self._ask(asked, request_id, served, timer)
            if len(answer.body) > LARGE_RESPONSE_BYTES:
                self.hold(asked, len(answer.body))
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
                self.metrics.count_failure(served, asked.traffic)
                if asked.sender:
                    self._note(asked, asked.sender, served, None, timer)
            raise
        self.metrics.observe(served, asked.traffic, timer.seconds, answer.tally)
        self._keep(asked, served, request_id, timer, answer)
        if asked.sender:
            self._note(asked, asked.sender, served, answer, timer)
        return answer

    def _read_origin(self, asked: Asked, headers: dict[bytes, bytes]) -> None:
        choice, word = headers.get(b"x-pool-choice"), headers.get(b"x-replay")
        if choice == b"probe":
            asked.traffic, asked.wants_challenger = PROBE, False
        elif word is not None:
            registered = self.follower.registered.get(asked.name)
            asked.traffic = REPLAY if registered and registered.is_replay(word) else ASKED
        elif choice == b"asked":
            asked.traffic = ASKED
        elif choice == b"drawn" and asked.wants_challenger:
            user = headers.get(b"x-user-id", b"")
            asked.wants_challenger = self._is_in_share(asked.name, user or headers.get(b"x-request-id", b""))
            if asked.wants_challenger:
                asked.sender = headers.get(b"x-forwarded-for", b""), user

    def _is_in_share(self, name: str, unit: bytes) -> bool:
        registered = self.follower.registered.get(name)
        if registered is None or registered.canary_share >= 100:
            return True
        return is_in_share(name, registered.aliases.get(CHALLENGER, ""), unit, registered.canary_share)

    async def _ask(self, asked: Asked, request_id: bytes, served: ServedModel, timer: Timer) -> Answer:
        is_replay = asked.traffic == REPLAY
        if asked.wire is not None:
            return await served.infer(
                asked.body, request_id, wire=asked.wire, is_replay=is_replay, room=self.room, timer=timer
            )
        return await served.answer(
            asked.body,
            request_id,
            with_probabilities=asked.with_probabilities,
            is_replay=is_replay,
            room=self.room,
            timer=timer,
        )

    def _reads_like_champion(self, served: ServedModel) -> bool:
        champion = self.follower.pick(served.identity.name, wants_challenger=False)
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
        registered = self.follower.registered.get(asked.name)
        if served.variant != CHALLENGER or not registered or not registered.replay_mark:
            return
        champion = self.follower.pick(asked.name, wants_challenger=False)
        drawn = Drawn(*sender, asked.body, partial(self._ask, asked, b""))
        self._evidence.note(drawn, served, champion, registered.replay_mark, answer, timer.seconds)

    def _keep(self, asked: Asked, served: ServedModel, request_id: bytes, timer: Timer, answer: Answer | None) -> None:
        """Takes a request that was answered, or refused, for the prediction log."""
        if self._log is None or asked.traffic == PROBE:
            return
        # A refusal has no rows, and takes no bytes from those of other requests.
        client_id, size_bytes, rows, prediction, text = asked.client_id, 0, None, None, None
        if answer is not None and (prediction := answer.prediction) is not None:
            rows = answer.rows
            if not isinstance(rows, np.ndarray):
                size_bytes = len(asked.body) * OBJECT_BYTES
            else:
                is_line = asked.wire is None and b"\n" not in asked.body and b"{" not in asked.body
                text = asked.body if is_line else None
                size_bytes = rows.nbytes + len(text or b"")
            if prediction.probabilities is not None:
                size_bytes += prediction.probabilities.nbytes
            if client_id is None and answer.client_id is not None:
                client_id = answer.client_id.encode()
        known = (served, asked.traffic, request_id.decode(), client_id, asked.user)
        size = timer.seconds, size_bytes
        entry = (*known, *size, () if rows is None else rows, prediction, asked.traceparent, text)
        self._log.note(entry)
        if self._shadows is not None and prediction is not None and served.variant == CHAMPION:
            self._shadows.note(entry)
