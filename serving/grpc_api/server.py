"""The service of the Open Inference Protocol over gRPC, in the process and the event loop of REST.

Each call has one message in and one out. It is served as a stream of both, which is the same on the wire: so a call is
counted before its message is read, and its response counts until the client has read it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import grpc
import grpc.aio

from ml_code.monitoring.prediction_log.blocks import make_request_id
from serving.answering.served import ServedModel
from serving.api.inference_pages import SERVER, describe_inference_error
from serving.api.predictions import Predictions
from serving.api.request import Asked, pick_version
from serving.api.request_lines import RequestLines
from serving.api.spans import RequestSpans
from serving.errors import SERVER_FAILED, RequestError, find_inference_status
from serving.grpc_api.codes import CODES
from serving.grpc_api.messages import (
    SERVICE,
    Empty,
    ModelInferHead,
    ModelMetadataRequest,
    ModelMetadataResponse,
    ModelReadyRequest,
    ModelReadyResponse,
    ServerLiveResponse,
    ServerMetadataResponse,
    ServerReadyResponse,
)
from serving.grpc_api.protobuf_wire import PROTOBUF_WIRE, decode
from serving.grpc_api.readers import Readers
from serving.limits import LARGE_BYTES, MAX_BODY_BYTES

MAX_CALLS = 512
"""Calls under way at once, as many as requests of REST; more get RESOURCE_EXHAUSTED."""

READ_SECONDS = 10.0
"""Longest wait for a place to read a message, and for it to arrive."""

STOP_SECONDS = 5.0
"""Longest wait for the calls under way at the end."""

LONGEST_MESSAGE_BYTES = 2_000
"""Bytes of an error's text: it is a header, percent-encoded, and the gateway reads headers of 8 KB."""

OPTIONS = (
    ("grpc.max_receive_message_length", MAX_BODY_BYTES),
    ("grpc.max_send_message_length", -1),
    # Before a message is read, 64 KB of it wait in memory, and no more.
    ("grpc.http2.bdp_probe", 0),
    # A compressed message of a kilobyte may be a megabyte.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    ("grpc.so_reuseport", 0),
)

logger = logging.getLogger("serving.grpc")

type Headers = dict[bytes, bytes]


class Call:
    """One call: what was asked, the id of its answer, and the version that answers."""

    def __init__(self, headers: Headers) -> None:
        self.headers = headers
        self.asked = Asked("")
        self.request_id = make_request_id()
        self.served: ServedModel | None = None
        self.started, self.is_noted = perf_counter(), False

    def list_trailers(self) -> tuple[tuple[str, str], ...]:
        """What REST has as headers of its responses."""
        version = self.served.identity.version if self.served else ""
        found = (("x-request-id", self.request_id), ("x-model-version", version))
        return tuple((name, value) for name, value in found if value)


type Handle = Callable[[Call, bytes], Awaitable[bytes]]


class GrpcServer:
    """Serves calls with the predictions of REST.

    >>> server = GrpcServer(predictions, "0.0.0.0", 3001, timeout_seconds=10)
    >>> server.open_when_ready(poll_seconds=2)
    >>> await server.stop()
    """

    def __init__(
        self,
        predictions: Predictions,
        host: str,
        port: int,
        *,
        timeout_seconds: float,
        spans: RequestSpans | None = None,
    ) -> None:
        self._predictions = predictions
        self._spans = spans
        self._address = f"{host}:{port}"
        self._timeout_seconds = timeout_seconds
        self._readers = Readers()
        self._work: set[asyncio.Task[bytes]] = set()
        self._calls = 0
        self._lines = RequestLines()
        self._server: grpc.aio.Server | None = None
        self._opening: asyncio.Task[None] | None = None

    def open_when_ready(self, poll_seconds: float) -> None:
        """Listens once a version can answer: until then the gateway finds nobody here, and asks another replica."""

        async def open_later() -> None:
            while not self._predictions.follower.is_ready:
                await asyncio.sleep(poll_seconds)
            try:
                await self.start()
            except RuntimeError:  # REST is served all the same, and nobody awaits this task
                logger.exception("gRPC: expected to listen at %s, found that it cannot; free the port", self._address)

        self._opening = asyncio.create_task(open_later())

    async def start(self) -> int:
        """Listens, and returns the port."""
        server = grpc.aio.server(options=OPTIONS)
        methods: dict[str, Handle] = {
            "ServerLive": self._show_life,
            "ServerReady": self._show_readiness,
            "ServerMetadata": self._show_server,
            "ModelReady": self._show_model_readiness,
            "ModelMetadata": self._show_model,
            "ModelInfer": self._infer,
        }
        handlers = {name: grpc.stream_stream_rpc_method_handler(self._serve(each)) for name, each in methods.items()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        bound: int = server.add_insecure_port(self._address)
        await server.start()
        self._server = server
        return bound

    async def stop(self) -> None:
        """Takes no more calls, and waits for those under way."""
        if self._opening is not None:
            self._opening.cancel()
        if self._server is not None:
            await self._server.stop(STOP_SECONDS)

    def _serve(self, handle: Handle) -> Callable[[Any, Any], Awaitable[None]]:
        """The handler of gRPC's library around a method."""

        async def serve(_: Any, context: Any) -> None:
            call = Call({_encode(name): _encode(value) for name, value in context.invocation_metadata() or ()})
            self._calls += 1
            work: asyncio.Task[bytes] | None = None
            try:
                if self._calls > MAX_CALLS:
                    found = f"found {MAX_CALLS} under way, expected fewer"
                    raise RequestError(429, f"call: {found}; send it again in a second")
                work = self._start(handle(call, await self._read(call, context)))
                # A client that has gone does not end the work: what a version computes is counted as its answer.
                content = await asyncio.shield(work)
                context.set_trailing_metadata(call.list_trailers())
                await context.write(content)
                self._note(call, 200)
            except (grpc.aio.AbortError, grpc.aio.UsageError):
                raise
            except Exception as error:  # the edge of the process: the client gets an id, the log gets the traceback
                await self._refuse(context, call, self._report(call, error))
            finally:
                self._end(call, work)

        return serve

    def _start(self, work: Any) -> asyncio.Task[bytes]:
        """Starts the work of a call in a task of its own, which ends in time."""

        async def run() -> bytes:
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    return bytes(await work)
            except TimeoutError:
                found = f"found no answer after {self._timeout_seconds:g} s, expected one"
                raise RequestError(504, f"call: {found}; send fewer rows") from None

        task = asyncio.create_task(run())
        self._work.add(task)
        return task

    def _end(self, call: Call, work: asyncio.Task[bytes] | None) -> None:
        """Ends a call once its work has ended too."""

        def end(_: Any = None) -> None:
            self._calls -= 1
            self._predictions.leave(call.asked)
            if work is not None:
                self._work.discard(work)
                if not work.cancelled() and (error := work.exception()) and not call.is_noted:
                    self._report(call, error)  # the client has gone, and nobody else reads it

        if work is None or work.done():
            end()
        else:
            work.add_done_callback(end)

    async def _read(self, call: Call, context: Any) -> bytes:
        address = call.headers.get(b"x-forwarded-for", b"")
        try:
            async with asyncio.timeout(READ_SECONDS), self._readers.take_place(address):
                message = await context.read()
        except TimeoutError:
            raise RequestError(504, f"call: found no message after {READ_SECONDS:g} s, expected one") from None
        if message is grpc.aio.EOF:
            raise RequestError(400, "call: found no message, expected one")
        return bytes(message)

    async def _refuse(self, context: Any, call: Call, error: RequestError) -> None:
        text = describe_inference_error(error).encode()[:LONGEST_MESSAGE_BYTES].decode(errors="ignore")
        await context.abort(CODES[error.status], text, call.list_trailers())

    def _report(self, call: Call, error: BaseException) -> RequestError:
        """Counts and logs a call that failed, and returns the error that its client gets."""
        known = error if isinstance(error, RequestError) else SERVER_FAILED
        if known is SERVER_FAILED:
            self._lines.fail(call.asked, call.request_id.encode(), error)
        self._note(call, find_inference_status(known.status))
        return known

    def _note(self, call: Call, status: int) -> None:
        """Counts a prediction that was refused, writes a line if its client asks for one, and records its span."""
        call.is_noted = True
        if call.asked.wire is None:  # another method, or no message
            return
        if status != 200:
            self._predictions.metrics.count_refusal(status)
        request_id = call.request_id.encode()
        self._lines.note(call.asked, request_id, status, call.served, perf_counter() - call.started)
        if self._spans is not None:
            code = CODES[status].value[0]
            protocol = {"rpc.system": "grpc", "rpc.method": "ModelInfer", "rpc.grpc.status_code": code}
            self._spans.note(call.asked, request_id, status, call.served, protocol, started=call.started)

    async def _infer(self, call: Call, body: bytes) -> bytes:
        call.asked.wire = PROTOBUF_WIRE
        head = decode(ModelInferHead, body)
        call.asked = asked = Asked(head.model_name, head.model_version or None, PROTOBUF_WIRE, body=body)
        predictions = self._predictions
        predictions.read_sender(asked, call.headers)
        predictions.check_name(asked)
        if len(body) > LARGE_BYTES:
            predictions.hold(asked, len(body))
        call.served = served = predictions.pick(asked)
        return (await predictions.answer(asked, served, call.request_id.encode())).body

    async def _show_life(self, _: Call, body: bytes) -> bytes:
        decode(Empty, body)
        return _write(ServerLiveResponse(live=True))

    async def _show_readiness(self, _: Call, body: bytes) -> bytes:
        decode(Empty, body)
        return _write(ServerReadyResponse(ready=self._predictions.follower.is_ready))

    async def _show_server(self, _: Call, body: bytes) -> bytes:
        decode(Empty, body)
        return _write(ServerMetadataResponse(name=SERVER["name"], version=SERVER["version"]))

    async def _show_model_readiness(self, call: Call, body: bytes) -> bytes:
        asked = decode(ModelReadyRequest, body)
        try:
            self._pick(call, asked)
        except RequestError:
            return _write(ModelReadyResponse(ready=False))
        return _write(ModelReadyResponse(ready=True))

    async def _show_model(self, call: Call, body: bytes) -> bytes:
        known = self._pick(call, decode(ModelMetadataRequest, body)).describe_inference()
        tensors = {
            side: [{name: tensor[name] for name in ("name", "datatype", "shape")} for tensor in known[side]]
            for side in ("inputs", "outputs")
        }
        return _write(ModelMetadataResponse(**{**known, **tensors}))

    def _pick(self, call: Call, asked: Any) -> Any:
        follower, wants_challenger = self._predictions.follower, call.headers.get(b"x-pool") == b"canary"
        return pick_version(follower, asked.name, asked.version or None, wants_challenger=wants_challenger)


def _write(message: Any) -> bytes:
    return bytes(message.SerializeToString())


def _encode(text: str | bytes) -> bytes:
    return text.encode("latin-1", "replace") if isinstance(text, str) else text
