"""Calls of the service over a real channel: what is counted, limited and refused."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry
from tritonclient.grpc import service_pb2

from ml_code.model_file.onnx_model import OnnxModel
from ml_code.settings import TraceReceiver
from ml_code.telemetry import Tracing
from serving.answering.tensors import pack
from serving.api.metrics import PredictionMetrics
from serving.api.predictions import Predictions
from serving.api.spans import SERVICE, RequestSpans
from serving.following.follower import Follower
from serving.grpc_api import server as grpc_server
from serving.grpc_api.server import GrpcServer
from tests.unit.ml_code.test_telemetry import Receiver
from tests.unit.serving.app_client import read
from tests.unit.serving.grpc_api.calls import Bench, SlowModel, make_request, refuse, wait_until
from tests.unit.serving.log_fakes import FakeLines, make_log


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


def test_predictions_have_spans_in_the_trace_of_their_client(follower: Follower, metrics: CollectorRegistry) -> None:
    receiver = Receiver()
    spans = RequestSpans(Tracing(TraceReceiver("http://127.0.0.1:9"), SERVICE, send=receiver))
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

    async def infer(stub: Any, _: Predictions) -> tuple[str, str]:
        metadata = [("traceparent", f"00-{trace}-{parent}-01")]
        call = stub.ModelInfer(make_request(), metadata=metadata)
        await call
        *_, refused = await refuse(stub.ModelInfer(make_request(model="housing"), metadata=metadata))
        await stub.ServerLive(service_pb2.ServerLiveRequest(), metadata=metadata)
        return dict(await call.trailing_metadata())["x-request-id"], refused["x-request-id"]

    ids = Bench(follower, metrics, spans=spans).run(infer)
    spans.close()
    found = [one for one in receiver.spans if one["name"] == "predict"]
    attributes = [{one["key"]: next(iter(one["value"].values())) for one in each["attributes"]} for each in found]
    assert [(one["traceId"], one["parentSpanId"]) for one in found] == [(trace, parent)] * 2
    assert [(one["rpc.grpc.status_code"], one["mlops.request_id"]) for one in attributes] == [
        ("0", ids[0]),
        ("14", ids[1]),
    ]
    assert receiver.find("inference")["traceId"] == trace


@pytest.mark.parametrize(
    ("request_message", "code", "status", "found"),
    [
        (make_request(model="stranger"), grpc.StatusCode.NOT_FOUND, 404, "expected one that GET /models lists"),
        (make_request(model_version="6"), grpc.StatusCode.NOT_FOUND, 404, "expected the one that serves"),
        (make_request(model="housing"), grpc.StatusCode.UNAVAILABLE, 503, "no version that can answer"),
        (make_request(model="ships"), grpc.StatusCode.INVALID_ARGUMENT, 400, "one for each of size, port"),
        (make_request(0), grpc.StatusCode.INVALID_ARGUMENT, 400, "at least one row"),
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


def test_only_predictions_that_were_read_are_counted_as_refused(
    bench: Bench, metrics: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def call(stub: Any, predictions: Predictions) -> Any:
        server = GrpcServer(predictions, "127.0.0.1", 0, timeout_seconds=30)
        address = f"127.0.0.1:{await server.start()}"
        unknown = service_pb2.ModelMetadataRequest(name="unknown")
        codes = [(await refuse(stub.ModelMetadata(unknown)))[0]]
        codes.append((await refuse(stub.ModelInfer(make_request(model="unknown"))))[0])
        async with grpc.aio.insecure_channel(address) as channel:
            path = "/inference.GRPCInferenceService/ModelInfer"
            codes.append((await refuse(channel.unary_unary(path)(b"\xff\xff")))[0])
            monkeypatch.setattr(grpc_server, "READ_SECONDS", 0.01)
            codes.append(await channel.stream_stream(path)().code())
        await server.stop()
        return [code.name for code in codes]

    assert bench.run(call) == ["NOT_FOUND", "NOT_FOUND", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED"]
    name = "mlops_prediction_refusals_total"
    counts = {status: metrics.get_sample_value(name, {"status": status}) for status in ("400", "404", "504")}
    assert counts == {"400": 1, "404": 1, "504": None}


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


def test_a_failure_whose_client_has_gone_is_counted_and_logged(
    bench: Bench, metrics: CollectorRegistry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    is_asked, is_free = threading.Event(), threading.Event()

    def fail(*_: object) -> None:
        is_asked.set()
        is_free.wait(60)
        raise ZeroDivisionError("of this test")

    async def infer(stub: Any, predictions: Predictions) -> None:
        monkeypatch.setattr(OnnxModel, "predict_rows", fail)  # the golden rows have been answered
        call = stub.ModelInfer(make_request(1_000))
        waiting = asyncio.create_task(call.code())
        await asyncio.to_thread(is_asked.wait, 60)
        call.cancel()
        await waiting
        await stub.ServerLive(service_pb2.ServerLiveRequest())  # behind it, the server knows that the client has gone
        is_free.set()
        await wait_until(lambda: predictions.room.requests == 0)

    bench.run(infer)
    assert metrics.get_sample_value("mlops_prediction_refusals_total", {"status": "500"}) == 1
    [line] = [record for record in caplog.records if record.name == "serving.requests"]
    assert line.exc_info
    assert line.exc_info[0] is ZeroDivisionError


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


def test_a_port_that_is_taken_is_told_and_the_replica_goes_on(
    follower: Follower, metrics: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    def list_messages() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == "serving.grpc"]

    async def run(port: int) -> None:
        await follower.restore()
        server = GrpcServer(Predictions(follower, PredictionMetrics(metrics)), "127.0.0.1", port, timeout_seconds=30)
        server.open_when_ready(0.01)
        await wait_until(lambda: bool(list_messages()))
        await server.stop()

    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        asyncio.run(run(port))
    assert list_messages() == [f"gRPC: expected to listen at 127.0.0.1:{port}, found that it cannot; free the port"]
