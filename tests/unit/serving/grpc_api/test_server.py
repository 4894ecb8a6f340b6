"""Calls of the service over a real channel: what is counted, limited and refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry
from tritonclient.grpc import service_pb2, service_pb2_grpc

from ml_code.model_file.onnx_model import OnnxModel, Prediction
from serving.answering.tensors import pack
from serving.api.metrics import PredictionMetrics
from serving.api.prediction_log import PredictionLog
from serving.api.predictions import Predictions
from serving.following.follower import Follower
from serving.grpc_api import server as grpc_server
from serving.grpc_api.server import GrpcServer
from serving.limits import HELD_BYTES, MAX_BODY_BYTES
from serving.memory import read_used_bytes
from tests.unit.serving.app_client import read
from tests.unit.serving.log_fakes import FakeLines, make_log

type Try = Callable[[service_pb2_grpc.GRPCInferenceServiceStub, Predictions], Awaitable[Any]]


class Bench:
    """A server on loopback with a client, for the time of one coroutine."""

    def __init__(self, follower: Follower, metrics: CollectorRegistry, log: PredictionLog | None = None) -> None:
        self.follower = follower
        self.metrics = PredictionMetrics(metrics)
        self.log = log

    def run(self, attempt: Try, *, timeout_seconds: float = 30) -> Any:
        async def run() -> Any:
            await self.follower.restore()
            predictions = Predictions(self.follower, self.metrics, log=self.log)
            server = GrpcServer(predictions, "127.0.0.1", 0, timeout_seconds=timeout_seconds)
            address = f"127.0.0.1:{await server.start()}"
            # Triton's own stubs, with an event loop: they are for both.
            async with grpc.aio.insecure_channel(address) as channel:
                try:
                    return await attempt(service_pb2_grpc.GRPCInferenceServiceStub(channel), predictions)
                finally:
                    await server.stop()

        return asyncio.run(run())


@pytest.fixture
def bench(follower: Follower, metrics: CollectorRegistry) -> Bench:
    return Bench(follower, metrics)


def make_request(rows: int = 1, model: str = "iris", **more: Any) -> Any:
    tensor = {"name": "rows", "shape": [rows, 4], "datatype": "FP32"}
    raw = pack("FP32", [5.1, 3.5, 1.4, 0.2] * rows)
    return service_pb2.ModelInferRequest(model_name=model, inputs=[tensor], raw_input_contents=[raw], **more)


async def refuse(call: Any) -> tuple[grpc.StatusCode, str, dict[str, Any]]:
    """The code, the text and the trailers of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or "", dict(caught.value.trailing_metadata())


def test_a_call_is_answered_counted_and_logged_like_a_request(follower: Follower, metrics: CollectorRegistry) -> None:
    lines = FakeLines()
    log = make_log(lines)

    async def infer(stub: Any, _: Predictions) -> tuple[Any, dict[str, str]]:
        call = stub.ModelInfer(make_request(2, id="mine"), metadata=[("x-user-id", "kim")])
        return await call, dict(await call.trailing_metadata())

    answer, trailers = Bench(follower, metrics, log).run(infer)
    assert (answer.id, answer.model_version, trailers["x-model-version"]) == ("mine", "7", "7")
    assert answer.raw_output_contents[0] == pack("INT64", [0, 0])
    assert read(metrics, "mlops_prediction_rows_total") == 2
    log.flush()
    [block] = lines.list_blocks()
    assert [row.features for row in block.rows] == [[5.1, 3.5, 1.4, 0.2]] * 2
    assert {row.request_id for row in block.rows} == {trailers["x-request-id"]}
    assert {row.client_request_id for row in block.rows} == {"mine"}


@pytest.mark.parametrize(
    ("request_message", "code", "status", "found"),
    [
        (make_request(model="stranger"), grpc.StatusCode.NOT_FOUND, 404, "expected one that GET /models lists"),
        (make_request(model_version="6"), grpc.StatusCode.NOT_FOUND, 404, "expected the one that serves"),
        (make_request(model="housing"), grpc.StatusCode.UNAVAILABLE, 503, "no version that can answer"),
        (make_request(model="ships"), grpc.StatusCode.INVALID_ARGUMENT, 400, "one for each of size, port"),
    ],
)
def test_a_call_that_cannot_be_answered_gets_code_and_text(  # noqa: PLR0917  one argument per column of the table
    bench: Bench, metrics: CollectorRegistry, request_message: Any, code: grpc.StatusCode, status: int, found: str
) -> None:
    result = bench.run(lambda stub, _: refuse(stub.ModelInfer(request_message)))
    assert result[0] == code
    assert found in result[1]
    assert result[2]["x-request-id"]
    assert metrics.get_sample_value("mlops_prediction_refusals_total", {"status": str(status)}) == 1


def test_every_problem_is_named_and_the_text_stays_a_header(bench: Bench) -> None:
    async def infer(stub: Any, _: Predictions) -> Any:
        bad = make_request(30)
        bad.raw_input_contents[0] = pack("FP32", [float("inf")] * 120)
        return await refuse(stub.ModelInfer(bad))

    code, text, _ = bench.run(infer)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "row 0 sepal_length: found inf, expected a number that float32 holds" in text
    assert len(text.encode()) <= grpc_server.LONGEST_MESSAGE_BYTES


def test_a_message_that_is_too_large_is_refused_and_the_next_call_answered(bench: Bench) -> None:
    async def infer(stub: Any, _: Predictions) -> Any:
        refused = await refuse(stub.ModelInfer(make_request(MAX_BODY_BYTES // 16)))
        return refused, await stub.ModelInfer(make_request())

    (code, text, _), answer = bench.run(infer)
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED, text
    assert answer.model_version == "7"


def test_a_compressed_message_is_refused(bench: Bench) -> None:
    async def infer(stub: Any, _: Predictions) -> Any:
        return await refuse(stub.ModelInfer(make_request(100), compression=grpc.Compression.Gzip))

    assert bench.run(infer)[0] == grpc.StatusCode.UNIMPLEMENTED


def test_bytes_without_a_message_and_a_call_without_bytes_are_refused(bench: Bench) -> None:
    async def call(_: Any, predictions: Predictions) -> Any:
        server = GrpcServer(predictions, "127.0.0.1", 0, timeout_seconds=30)
        address = f"127.0.0.1:{await server.start()}"
        async with grpc.aio.insecure_channel(address) as channel:
            path = "/inference.GRPCInferenceService/ModelInfer"
            garbage = await refuse(channel.unary_unary(path)(b"\xff\xff"))
            silent = await refuse(channel.stream_unary(path)(iter(())))
        await server.stop()
        return garbage, silent

    garbage, silent = bench.run(call)
    assert garbage[:2] == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "message: found bytes that protobuf cannot read, expected a request",
    )
    assert silent[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "call: found no message, expected one")


def test_where_the_room_is_full_only_small_calls_are_answered(bench: Bench) -> None:
    async def infer(stub: Any, predictions: Predictions) -> Any:
        predictions.room.hold(HELD_BYTES - 1_000)
        refused = await refuse(stub.ModelInfer(make_request(1_000)))
        answer = await stub.ModelInfer(make_request())
        return refused, answer, (predictions.room.held_bytes, predictions.room.requests)

    (code, text, _), answer, held = bench.run(infer)
    assert (code, answer.model_version) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "7")
    assert "send it again in a second, or with fewer rows" in text
    assert held == (HELD_BYTES - 1_000, 1)


def test_messages_that_wait_for_their_turn_take_no_more_than_their_bytes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a million empty inputs are a megabyte, and would be 43 MB of decoded objects each."""
    slow = SlowModel(monkeypatch)
    path, hostile = "/inference.GRPCInferenceService/ModelInfer", b"\x0a\x04iris" + b"\x2a\x00" * 499_000

    async def attack(_: Any, predictions: Predictions) -> Any:
        server = GrpcServer(predictions, "127.0.0.1", 0, timeout_seconds=30)
        address = f"127.0.0.1:{await server.start()}"
        async with grpc.aio.insecure_channel(address) as channel:
            call = channel.unary_unary(path)
            slow.is_free = False
            computed = [call(make_request(1_000).SerializeToString()) for _ in range(2)]
            await wait_until(lambda: slow.calls == 2)
            before = peak = read_used_bytes()
            refused = asyncio.gather(*(refuse(call(hostile)) for _ in range(25)))
            while not refused.done():
                peak = max(peak, read_used_bytes())
                await asyncio.sleep(0.01)
            slow.is_free = True
            await asyncio.gather(*computed)
        await server.stop()
        return peak - before, {code for code, *_ in refused.result()}

    taken_bytes, codes = bench.run(attack)
    assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}  # no turn
    assert taken_bytes < 200_000_000


def test_an_address_whose_calls_send_nothing_leaves_places_to_the_others(bench: Bench) -> None:
    async def attack(stub: Any, predictions: Predictions) -> Any:
        server = GrpcServer(predictions, "127.0.0.1", 0, timeout_seconds=30)
        address = f"127.0.0.1:{await server.start()}"
        async with grpc.aio.insecure_channel(address) as channel:
            call = channel.stream_stream("/inference.GRPCInferenceService/ModelInfer")
            silent = [call(metadata=[("x-forwarded-for", "192.0.2.7")]) for _ in range(256)]
            await wait_until(lambda: server._calls == 256)
            infer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer
            answer = await infer(make_request(), metadata=[("x-forwarded-for", "192.0.2.8")], timeout=5)
            for one in silent:
                one.cancel()
            await wait_until(lambda: server._calls == 0)
            known = len(server._readers._of_address)
        await server.stop()
        return answer.model_version, known

    assert bench.run(attack) == ("7", 0)


def test_calls_beyond_the_limit_are_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_server, "MAX_CALLS", 0)
    code, text, _ = bench.run(lambda stub, _: refuse(stub.ModelInfer(make_request())))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert text == "call: found 0 under way, expected fewer; send it again in a second"


class SlowModel:
    """Holds up a version while it is not free."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_free = True
        self.calls = 0
        predict = OnnxModel.predict_rows

        def wait(model: OnnxModel, rows: Any) -> Prediction:
            self.calls += not self.is_free
            while not self.is_free:
                asyncio.run(asyncio.sleep(0.005))
            return predict(model, rows)

        monkeypatch.setattr(OnnxModel, "predict_rows", wait)


async def wait_until(is_done: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_done():
            await asyncio.sleep(0.005)


def test_a_call_whose_client_has_gone_is_computed_counted_and_leaves_its_room(
    bench: Bench, metrics: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowModel(monkeypatch)

    async def infer(stub: Any, predictions: Predictions) -> Any:
        slow.is_free = False
        cancelled = stub.ModelInfer(make_request(1_000))
        late = stub.ModelInfer(make_request(1_000), timeout=0.5)
        await wait_until(lambda: slow.calls == 2)
        cancelled.cancel()
        code, *_ = await refuse(late)
        held = predictions.room.requests
        slow.is_free = True
        await wait_until(lambda: predictions.room.requests == 0)
        return code, held

    assert bench.run(infer) == (grpc.StatusCode.DEADLINE_EXCEEDED, 2)
    assert read(metrics, "mlops_prediction_rows_total") == 2_000
    assert not read(metrics, "mlops_prediction_failures_total")


def test_a_version_that_is_out_of_time_has_failed(
    bench: Bench, metrics: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowModel(monkeypatch)

    async def infer(stub: Any, _: Predictions) -> Any:
        slow.is_free = False
        refused = await refuse(stub.ModelInfer(make_request(1_000)))
        slow.is_free = True
        return refused

    code, text, _ = bench.run(infer, timeout_seconds=0.2)
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert text == "call: found no answer after 0.2 s, expected one; send fewer rows"
    assert read(metrics, "mlops_prediction_failures_total") == 1


def test_the_response_of_a_client_that_never_reads_counts_until_it_has_gone(bench: Bench) -> None:
    async def infer(stub: Any, predictions: Predictions) -> Any:
        server = GrpcServer(predictions, "127.0.0.1", 0, timeout_seconds=30)
        address = f"127.0.0.1:{await server.start()}"
        # A window of a kilobyte that never grows: the client takes nothing beyond it.
        options = (("grpc.http2.lookahead_bytes", 1_024), ("grpc.http2.bdp_probe", 0))
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            call = channel.stream_stream("/inference.GRPCInferenceService/ModelInfer")()
            await call.write(make_request(10_000).SerializeToString())
            await wait_until(lambda: predictions.room.held_bytes > 160_000)
            await stub.ModelInfer(make_request())
            held = predictions.room.held_bytes
            call.cancel()
            await wait_until(lambda: predictions.room.held_bytes == 0)
        await server.stop()
        return held

    assert bench.run(infer) > 160_000


def test_a_replica_without_a_version_does_not_listen(follower: Follower, metrics: CollectorRegistry) -> None:
    async def run() -> list[bool]:
        server = GrpcServer(Predictions(follower, PredictionMetrics(metrics)), "127.0.0.1", 0, timeout_seconds=30)
        server.open_when_ready(0.01)
        await asyncio.sleep(0.1)
        found = [server._server is not None]
        await follower.restore()
        await wait_until(lambda: server._server is not None)
        await server.stop()
        return [*found, server._server is not None]

    assert asyncio.run(run()) == [False, True]
