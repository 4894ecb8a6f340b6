"""A model version that is open and may answer, with everything prepared that a request needs of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import orjson

from ml_code.onnx_model import OnnxModel
from serving.errors import RequestError
from serving.rows import RowParser

THREAD_BYTES = 8_000
"""Larger bodies are answered in a thread, so that a batch of 10,000 rows does not hold up everybody else's one."""


@dataclass(frozen=True, slots=True)
class Version:
    """Which file a model answers with: the version in the registry and the sha256 of its model file."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One version that answers; replaced as a whole, never changed."""

    identity: Version
    variant: str
    since: str
    model: OnnxModel
    parser: RowParser
    header: bytes = field(init=False)
    _tail: bytes = field(init=False)

    def __post_init__(self) -> None:
        model = {"name": self.identity.name, "version": self.identity.version}
        object.__setattr__(self, "header", self.identity.version.encode())
        object.__setattr__(self, "_tail", b',"model":' + orjson.dumps(model) + b',"request_id":"')

    async def answer(self, body: bytes, request_id: bytes, *, with_probabilities: bool) -> bytes:
        """Answers a request's body with a response's body.

        Raises:
            RequestError: the body does not fit the model.
        """
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

    def _answer(self, body: bytes, request_id: bytes, with_probabilities: bool) -> bytes:
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
        return answer + self._tail + request_id + b'"}'
