"""A model version that is open and may answer, with everything prepared that a request needs of it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from ml_code.onnx_model import OnnxModel
from serving.errors import RequestError
from serving.rows import RowParser
from serving.tally import Tallier, Tally

CHAMPION = "champion"
CHALLENGER = "challenger"

THREAD_BYTES = 8_000
"""Larger bodies are answered in a thread, so that a batch of 10,000 rows does not hold up everybody else's one."""


@dataclass(frozen=True, slots=True)
class Version:
    """Which file a model answers with: the version in the registry and the sha256 of its model file."""

    name: str
    version: str
    sha256: str


class Answer(NamedTuple):
    """A response's body, and what it adds to the figures."""

    body: bytes
    tally: Tally


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One version that answers; replaced as a whole, never changed.

    A challenger answers in a thread of its own: however slow it is, the replica goes on answering with the champion,
    following the registry and telling its figures.
    """

    identity: Version
    variant: str
    since: str
    model: OnnxModel
    parser: RowParser
    header: bytes = field(init=False)
    _tail: bytes = field(init=False)
    _tallier: Tallier = field(init=False)
    _thread: ThreadPoolExecutor | None = field(init=False)

    def __post_init__(self) -> None:
        model = {"name": self.identity.name, "version": self.identity.version}
        object.__setattr__(self, "header", self.identity.version.encode())
        object.__setattr__(self, "_tail", b',"model":' + orjson.dumps(model) + b',"request_id":"')
        object.__setattr__(self, "_tallier", Tallier(self.model.spec))
        # Its thread starts with the first request and ends when nothing refers to it any more.
        object.__setattr__(self, "_thread", ThreadPoolExecutor(1) if self.variant == CHALLENGER else None)

    async def answer(self, body: bytes, request_id: bytes, *, with_probabilities: bool) -> Answer:
        """Answers a request's body with a response's body.

        Raises:
            RequestError: the body does not fit the model.
        """
        if self._thread is not None:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._answer, body, request_id, with_probabilities)
        if len(body) > THREAD_BYTES:
            return await asyncio.to_thread(self._answer, body, request_id, with_probabilities)
        return self._answer(body, request_id, with_probabilities)

    def summarize(self) -> dict[str, Any]:
        """What `GET /models` says of it."""
        return {
            "name": self.identity.name,
            "version": self.identity.version,
            "variant": self.variant,
            "since": self.since,
            "sha256": self.identity.sha256,
            "task": self.model.spec.task,
            "features": [feature.model_dump() for feature in self.model.spec.features],
        }

    def _answer(self, body: bytes, request_id: bytes, with_probabilities: bool) -> Answer:
        prediction = self.model.predict_rows(self.parser.parse(body))
        answer = b'{"predictions":' + orjson.dumps(prediction.values)
        if with_probabilities:
            if prediction.probabilities is None:
                raise RequestError(
                    422,
                    f"probabilities: found true, expected false: {self.identity.name} version "
                    f"{self.identity.version} answers none",
                )
            answer += b',"probabilities":' + orjson.dumps(prediction.probabilities.tolist())
            answer += b',"classes":' + orjson.dumps(self.model.spec.classes)
        return Answer(answer + self._tail + request_id + b'"}', self._tallier.count(prediction))
