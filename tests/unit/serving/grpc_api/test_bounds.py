"""Clients that send or take too much, or nothing: what they make a replica hold is bounded."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2_grpc

from serving.api.predictions import Predictions
from serving.grpc_api import server as grpc_server
from serving.grpc_api.server import GrpcServer
from serving.limits import HELD_BYTES, MAX_BODY_BYTES
from serving.memory import read_used_bytes
from tests.unit.serving.grpc_api.calls import Bench, SlowModel, make_request, refuse, wait_until


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
