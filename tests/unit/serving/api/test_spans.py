"""The spans of predictions."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from ml_code.settings import TraceReceiver
from ml_code.telemetry import Tracing
from serving.api.app import PredictionApp
from serving.api.metrics import PredictionMetrics
from serving.api.spans import SERVICE, RequestSpans
from serving.following.follower import Follower
from tests.unit.ml_code.test_telemetry import Receiver
from tests.unit.serving.app_client import ARRAYS, JSON, Ask, make_client

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def spans(receiver: Receiver) -> Iterator[RequestSpans]:
    spans = RequestSpans(Tracing(TraceReceiver("http://127.0.0.1:9"), SERVICE, send=receiver))
    yield spans
    spans.close()


@pytest.fixture
def ask(follower: Follower, metrics: CollectorRegistry, spans: RequestSpans) -> Ask:
    asyncio.run(follower.restore())
    return make_client(follower, metrics, spans=spans)


def read_attributes(found: dict[str, Any]) -> dict[str, str]:
    return {one["key"]: next(iter(one["value"].values())) for one in found["attributes"]}


def test_a_request_and_its_computing_are_below_the_client_s_span(
    ask: Ask, spans: RequestSpans, receiver: Receiver
) -> None:
    headers = JSON | {"traceparent": f"00-{TRACE}-{SPAN}-01", "x-request-id": "ab" * 16}
    answer = ask("POST", "/predict", content=ARRAYS, headers=headers)
    spans.close()
    predict, inference = receiver.find("predict"), receiver.find("inference")
    assert (predict["traceId"], predict["parentSpanId"], predict["kind"]) == (TRACE, SPAN, 2)
    assert (inference["traceId"], inference["parentSpanId"]) == (TRACE, predict["spanId"])
    assert read_attributes(predict) == {
        "http.request.method": "POST",
        "http.response.status_code": "200",
        "mlops.request_id": answer.headers["x-request-id"],
        "mlops.traffic": "live",
        "mlops.model": "iris",
        "mlops.version": "7",
        "mlops.variant": "champion",
    }
    times = [int(one[f"{end}TimeUnixNano"]) for one, end in ((predict, "start"), (inference, "start"))]
    times += [int(one["endTimeUnixNano"]) for one in (inference, predict)]
    assert times == sorted(times)
    assert receiver.services == {"mlops-loop-serving"}


def test_a_trace_of_the_gateway_begins_with_the_replica(ask: Ask, spans: RequestSpans, receiver: Receiver) -> None:
    """Flags 00 of the gateway are no decision of a client against spans."""
    ask(
        "POST",
        "/predict",
        content=ARRAYS,
        headers=JSON | {"traceparent": f"00-{TRACE}-{SPAN}-00", "x-request-id": TRACE},
    )
    spans.close()
    predict = receiver.find("predict")
    assert (predict["traceId"], "parentSpanId" in predict) == (TRACE, False)


def test_a_client_that_does_not_sample_its_trace_has_no_spans(
    ask: Ask, spans: RequestSpans, receiver: Receiver
) -> None:
    headers = JSON | {"traceparent": f"00-{TRACE}-{SPAN}-00", "x-request-id": "ab" * 16}
    assert ask("POST", "/predict", content=ARRAYS, headers=headers).status_code == 200
    spans.close()
    assert receiver.spans == []


@pytest.mark.parametrize("header", [{}, {"traceparent": "invalid"}], ids=["none", "invalid"])
def test_a_request_without_a_trace_begins_one_of_its_own_id(
    ask: Ask, spans: RequestSpans, receiver: Receiver, header: dict[str, str]
) -> None:
    answer = ask("POST", "/predict", content='[["no number", 1, 1, 1]]', headers=JSON | header)
    assert answer.status_code == 422
    spans.close()
    predict = receiver.find("predict")
    assert predict["traceId"] == answer.headers["x-request-id"]
    assert read_attributes(predict)["http.response.status_code"] == "422"


def test_an_answer_does_not_wait_for_a_receiver_that_hangs(follower: Follower, metrics: CollectorRegistry) -> None:
    is_asked, is_over = threading.Event(), threading.Event()

    def hang(_: bytes) -> int:
        is_asked.set()
        return 200 if is_over.wait(60) else 500

    tracing = Tracing(TraceReceiver("http://127.0.0.1:9"), send=hang)
    asyncio.run(follower.restore())
    ask = make_client(follower, metrics, spans=RequestSpans(tracing))
    assert ask("POST", "/predict", content=ARRAYS, headers=JSON).status_code == 200
    tracing.flush(0.1)
    assert is_asked.wait(30)
    assert ask("POST", "/predict", content=ARRAYS, headers=JSON).status_code == 200
    assert not is_over.is_set()
    is_over.set()
    tracing.close()


def test_a_failure_is_marked_and_the_monitoring_s_probe_has_no_span(
    follower: Follower, ask: Ask, spans: RequestSpans, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask("POST", "/predict", content=ARRAYS, headers=JSON | {"x-pool-choice": "probe"})

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of this test")

    monkeypatch.setattr(follower, "is_allowed", fail)
    ask("POST", "/predict", content=ARRAYS, headers=JSON)
    spans.close()
    [predict] = receiver.spans
    assert predict["status"] == {"code": 2, "message": "status 500"}
    assert read_attributes(predict)["http.response.status_code"] == "500"


def test_the_time_in_which_a_client_reads_the_response_is_in_no_span_and_no_line(
    follower: Follower,
    metrics: CollectorRegistry,
    spans: RequestSpans,
    receiver: Receiver,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "serving.requests")
    asyncio.run(follower.restore())
    app, now = PredictionApp(follower, PredictionMetrics(metrics), default_model="iris", pages=None, spans=spans), 0.0

    async def receive() -> Any:
        return {"type": "http.request", "body": ARRAYS.encode()}

    async def read_slowly(_: object) -> None:
        nonlocal now
        now += 60

    headers = JSON | {"traceparent": f"00-{TRACE}-{SPAN}-01"}
    scope = {"type": "http", "path": "/predict", "method": "POST", "query_string": b""}
    scope["headers"] = [(name.encode(), value.encode()) for name, value in headers.items()]
    with pytest.MonkeyPatch.context() as patch:
        for module in ("app", "spans"):
            patch.setattr(f"serving.api.{module}.perf_counter", lambda: now)
        asyncio.run(app(scope, receive, read_slowly))
    spans.close()
    predict = receiver.find("predict")
    assert int(predict["endTimeUnixNano"]) == int(predict["startTimeUnixNano"])
    lines = [record for record in caplog.records if record.name == "serving.requests"]
    assert [vars(line)["milliseconds"] for line in lines] == [0]
