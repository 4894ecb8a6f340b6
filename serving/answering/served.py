"""A model version that is open and may answer, with all that a request needs already prepared."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import orjson

from ml_code.model_file.feed import Rows
from ml_code.model_file.onnx_model import OnnxModel, Prediction
from serving.answering.findings import ReadRows
from serving.answering.inference import Inference
from serving.answering.room import Room
from serving.answering.rows import RowParser
from serving.answering.tally import Tallier, Tally
from serving.answering.wire import JSON_WIRE, Wire
from serving.errors import RequestError
from serving.limits import LARGE_BYTES, MAX_PROBABILITIES
from serving.registry.names import CHALLENGER


@dataclass(frozen=True, slots=True)
class Version:
    """Which file a model answers with: the version in the registry and the sha256 of its model file."""

    name: str
    version: str
    sha256: str


@dataclass(slots=True)
class Timer:
    """The computing time of one answer; `begun_at` is None while the request waits behind others."""

    begun_at: float | None = None
    seconds: float = 0.0

    def run(self, function: Callable[..., Answer], *arguments: Any) -> Answer:
        """Calls the function and measures it."""
        self.begun_at = started = perf_counter()
        try:
            return function(*arguments)
        finally:
            self.seconds = perf_counter() - started


class Answer(NamedTuple):
    """A response's body, and what it adds to the figures and to the prediction log.

    `client_id` is the client's own id in the body, which only the Open Inference Protocol has. `json_bytes` is the
    length of the body's JSON where binary tensors follow.
    """

    body: bytes
    tally: Tally
    rows: Rows = ()
    prediction: Prediction | None = None
    client_id: str | None = None
    json_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One version that answers; replaced as a whole, never changed.

    A challenger answers in a thread of its own. However slow it is, the replica still answers with the champion,
    follows the registry and reports its figures. Where a model's session may be closed, `opener` is the thread that
    opens it for a request.
    """

    identity: Version
    variant: str
    since: str
    model: OnnxModel
    parser: RowParser
    opener: Executor | None = None
    header: bytes = field(init=False)
    _tail: bytes = field(init=False)
    _tallier: Tallier = field(init=False)
    _thread: ThreadPoolExecutor | None = field(init=False)
    _inference: Inference = field(init=False)

    def __post_init__(self) -> None:
        model = {"name": self.identity.name, "version": self.identity.version}
        object.__setattr__(self, "header", self.identity.version.encode())
        object.__setattr__(self, "_tail", b',"model":' + orjson.dumps(model) + b',"request_id":"')
        object.__setattr__(self, "_tallier", Tallier(self.model.spec))
        object.__setattr__(self, "_inference", Inference(self.model.spec, self.parser))
        # Its thread starts with the first request and ends when nothing refers to it.
        object.__setattr__(self, "_thread", ThreadPoolExecutor(1) if self.variant == CHALLENGER else None)

    async def answer(
        self,
        body: bytes,
        request_id: bytes,
        *,
        with_probabilities: bool,
        is_replay: bool = False,
        room: Room | None = None,
        timer: Timer | None = None,
    ) -> Answer:
        """Answers the body of a request to /predict.

        A replay of a rollout has holdout rows, which may have cells that no training row had. They are not refused.

        Raises:
            RequestError: the body does not fit the model, or its dataset refuses what training did not know, or the
                request is large and there is no room for it.
        """
        return await self._run(timer, room, self._answer, body, request_id, with_probabilities, is_replay)

    async def infer(
        self,
        body: bytes,
        request_id: bytes,
        *,
        wire: Wire = JSON_WIRE,
        is_replay: bool = False,
        room: Room | None = None,
        timer: Timer | None = None,
    ) -> Answer:
        """Answers the body of a request of the Open Inference Protocol.

        Raises:
            RequestError: as for `answer`.
        """
        return await self._run(timer, room, self._infer, body, request_id, wire, is_replay)

    def is_version(self, version: str | None) -> bool:
        """Whether this is the version that a request asks for, if it asks for one."""
        return version is None or version == self.identity.version

    def reads_like(self, other: ServedModel) -> bool:
        """Whether it takes the same features as another version."""
        ours, theirs = self.model.spec.features, other.model.spec.features
        return [(one.name, one.kind) for one in ours] == [(one.name, one.kind) for one in theirs]

    def describe_inference(self) -> dict[str, Any]:
        """The model's metadata in the Open Inference Protocol."""
        return self._inference.describe(self.identity.name, self.identity.version)

    def summarize(self) -> dict[str, Any]:
        """The entry of this version in `GET /models`."""
        return {
            "name": self.identity.name,
            "version": self.identity.version,
            "variant": self.variant,
            "since": self.since,
            "sha256": self.identity.sha256,
            "task": self.model.spec.task,
            # The rollout asks each replica often, and a feature may have thousands of categories.
            "features": [
                feature.model_dump(exclude={"input", "categories", "whole"}) for feature in self.model.spec.features
            ],
        }

    async def _run(
        self, timer: Timer | None, room: Room | None, function: Callable[..., Answer], body: bytes, *rest: Any
    ) -> Answer:
        """Calls the function, in a thread where it could delay other requests."""
        run = (timer or Timer()).run
        if self._thread is not None:
            return await asyncio.get_running_loop().run_in_executor(self._thread, run, function, body, *rest)
        if room is not None and len(body) > LARGE_BYTES:
            return await room.compute(run, function, body, *rest)
        if self.opener is not None and not self.model.is_open:
            return await asyncio.get_running_loop().run_in_executor(self.opener, self._open, run, function, body, *rest)
        return run(function, body, *rest)

    def _open(self, run: Callable[..., Answer], *given: Any) -> Answer:
        """Opens the session before the time of the computing begins."""
        self.model.hold()
        return run(*given)

    def _answer(self, body: bytes, request_id: bytes, with_probabilities: bool, is_replay: bool) -> Answer:
        read = self._accept(self.parser.parse(body), is_replay)
        if with_probabilities:
            self._bound_probabilities(read, "ask without probabilities")
        prediction = self.model.predict_rows(read.rows)
        answer = b'{"predictions":' + orjson.dumps(prediction.values)
        if with_probabilities:
            answer += self._render_probabilities(prediction)
        if read.warnings:
            answer += b',"warnings":' + orjson.dumps(read.list_warnings())
        tally = self._tallier.count(prediction, read.counts)
        return Answer(answer + self._tail + request_id + b'"}', tally, read.rows, prediction)

    def _render_probabilities(self, prediction: Prediction) -> bytes:
        if prediction.probabilities is None:
            raise RequestError(
                422,
                f"probabilities: found true, expected false: {self.identity.name} version "
                f"{self.identity.version} returns none",
            )
        # As an array: a list of a million numbers takes 32 MB.
        shares = orjson.dumps(prediction.probabilities.astype(np.float64), option=orjson.OPT_SERIALIZE_NUMPY)
        return b"".join((b',"probabilities":', shares, b',"classes":', orjson.dumps(self.model.spec.classes)))

    def _bound_probabilities(self, read: ReadRows, other_way: str) -> None:
        classes = len(self.model.spec.classes or ())
        if len(read.rows) * classes > MAX_PROBABILITIES:
            raise RequestError(
                422,
                f"body: found {len(read.rows)} rows of {classes} probabilities, expected at most "
                f"{MAX_PROBABILITIES // classes} rows; send them in parts, or {other_way}",
            )

    def _infer(self, body: bytes, request_id: bytes, wire: Wire, is_replay: bool) -> Answer:
        request = self._inference.parse(body, wire)
        read = self._accept(request.read, is_replay)
        if request.wants_probabilities:
            self._bound_probabilities(read, "name predictions as the only output")
        prediction = self.model.predict_rows(read.rows)
        tail = {
            "model_name": self.identity.name,
            "model_version": self.identity.version,
            "id": request_id.decode(),
        }
        content, json_bytes = wire.write(self._inference.respond(request, prediction, tail))
        tally = self._tallier.count(prediction, read.counts)
        return Answer(content, tally, read.rows, prediction, request.id, json_bytes)

    def _accept(self, read: ReadRows, is_replay: bool) -> ReadRows:
        if read.warnings and self.model.spec.unknown == "refuse" and not is_replay:
            raise read.refuse()
        return read
