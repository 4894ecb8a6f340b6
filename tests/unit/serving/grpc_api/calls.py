"""A server of calls on loopback, and a client of it."""

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
from serving.api.spans import RequestSpans
from serving.following.follower import Follower
from serving.grpc_api.server import GrpcServer

type Try = Callable[[service_pb2_grpc.GRPCInferenceServiceStub, Predictions], Awaitable[Any]]


class Bench:
    """A server on loopback with a client, for the time of one coroutine."""

    def __init__(
        self,
        follower: Follower,
        metrics: CollectorRegistry,
        log: PredictionLog | None = None,
        spans: RequestSpans | None = None,
    ) -> None:
        self.follower = follower
        self.metrics = PredictionMetrics(metrics)
        self.log = log
        self.spans = spans

    def run(self, attempt: Try, *, timeout_seconds: float = 30) -> Any:
        async def run() -> Any:
            await self.follower.restore()
            predictions = Predictions(self.follower, self.metrics, log=self.log)
            server = GrpcServer(predictions, "127.0.0.1", 0, timeout_seconds=timeout_seconds, spans=self.spans)
            address = f"127.0.0.1:{await server.start()}"
            # Triton's own stubs, with an event loop: they are for both.
            async with grpc.aio.insecure_channel(address) as channel:
                try:
                    return await attempt(service_pb2_grpc.GRPCInferenceServiceStub(channel), predictions)
                finally:
                    await server.stop()

        return asyncio.run(run())


def make_request(rows: int = 1, model: str = "iris", **more: Any) -> Any:
    tensor = {"name": "rows", "shape": [rows, 4], "datatype": "FP32"}
    raw = pack("FP32", [5.1, 3.5, 1.4, 0.2] * rows)
    return service_pb2.ModelInferRequest(model_name=model, inputs=[tensor], raw_input_contents=[raw], **more)


async def refuse(call: Any) -> tuple[grpc.StatusCode, str, dict[str, Any]]:
    """The code, the text and the trailers of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or "", dict(caught.value.trailing_metadata())


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
