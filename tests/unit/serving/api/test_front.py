from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import orjson
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ml_code.model_file.onnx_model import OnnxModel
from serving.api.app import PredictionApp
from serving.api.deadlines import Deadlines
from serving.api.front import Front, MountedApp
from serving.api.metrics import PredictionMetrics
from serving.api.pages import make_pages
from serving.api.traffic import Traffic
from serving.following.follower import Follower
from tests.unit.serving.app_client import JSON


def answer_as(name: str) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(name)(scope, receive, send)

    return app


def make_front(framework: ASGIApp, own: ASGIApp | None = None, **limits: float) -> Front:
    mounted = MountedApp()
    mounted.app = own or framework
    return Front(framework, mounted, Traffic(), **limits)  # type: ignore[arg-type]


def ask(app: ASGIApp, act: Callable[[httpx.AsyncClient], Awaitable[list[httpx.Response]]]) -> list[httpx.Response]:
    async def run() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://serving") as client:
            return await act(client)

    return asyncio.run(run())


def get(app: ASGIApp, *paths: str) -> list[httpx.Response]:
    async def act(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [await client.get(path) for path in paths]

    return ask(app, act)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/predict", "own"),
        ("/models/iris/predict", "own"),
        ("/v2/models/iris/infer", "own"),
        ("/readyz", "own"),
        ("/schema.json", "own"),
        ("/livez", "framework"),
        ("/metrics", "framework"),
        ("/made/up", "framework"),
    ],
)
def test_requests_for_predictions_go_past_the_framework(path: str, expected: str) -> None:
    [answer] = get(make_front(answer_as("framework"), answer_as("own")), path)
    assert answer.text == expected


def make_slow_app(seconds: float) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(seconds)
        await Response("late")(scope, receive, send)

    return app


def test_a_request_that_takes_too_long_gets_a_504_as_json() -> None:
    [answer] = get(make_front(make_slow_app(5), timeout_seconds=0.01), "/predict")
    assert answer.status_code == 504
    assert answer.json()["error"] == "request: found no answer after 0.01 s, expected one; send fewer rows"


def test_a_request_in_time_is_left_alone() -> None:
    [answer] = get(make_front(make_slow_app(0.01), timeout_seconds=5), "/predict")
    assert answer.text == "late"


def test_each_of_several_requests_has_the_whole_time() -> None:
    async def act(client: httpx.AsyncClient) -> list[httpx.Response]:
        first = asyncio.create_task(client.get("/predict"))
        await asyncio.sleep(0.12)
        second = asyncio.create_task(client.get("/predict"))
        await asyncio.sleep(0.12)
        assert first.done()
        assert not second.done()
        return [await first, await second]

    answers = ask(make_front(make_slow_app(5), timeout_seconds=0.2), act)
    assert [answer.status_code for answer in answers] == [504, 504]


def test_a_response_that_has_begun_is_not_cancelled() -> None:
    async def app(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0.1)
        await send({"type": "http.response.body", "body": b"slow"})

    [answer] = get(make_front(app, timeout_seconds=0.02), "/predict")
    assert answer.text == "slow"


def test_a_request_that_someone_else_cancels_is_no_late_one() -> None:
    async def run() -> None:
        sent = []

        async def send(message: object) -> None:
            sent.append(message)

        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": b""}

        front = make_front(make_slow_app(5))
        scope = {"type": "http", "path": "/predict", "method": "POST", "headers": []}
        task = asyncio.create_task(front(scope, receive, send))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not sent

    asyncio.run(run())


class FakeSpans:
    def __init__(self) -> None:
        self.noted: list[tuple[str, int]] = []

    def note(self, _: object, request_id: bytes, status: int, *__: object, **___: object) -> None:
        self.noted.append((request_id.decode(), status))


ROWS = [[5.1, 3.5, 1.4, 0.2]] * 1_000
TENSOR = {"name": "rows", "shape": [1_000, 4], "datatype": "FP32", "data": ROWS}


@pytest.mark.parametrize("path", ["/predict", "/v2/models/iris/infer"])
def test_a_prediction_that_takes_too_long_is_counted_logged_and_traced(
    follower: Follower,
    metrics: CollectorRegistry,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    path: str,
) -> None:
    content = ROWS if path == "/predict" else {"inputs": [TENSOR]}
    caplog.set_level(logging.INFO, "serving.requests")
    asyncio.run(follower.restore())
    is_asked, is_over, spans = threading.Event(), threading.Event(), FakeSpans()

    def hang(*_: object) -> None:
        is_asked.set()
        is_over.wait(60)

    monkeypatch.setattr(OnnxModel, "predict_rows", hang)
    pages = make_pages(follower, pool="stable", replica="one", default_model="iris")
    known: Any = {"default_model": "iris", "pages": pages, "spans": spans}
    front = make_front(PredictionApp(follower, PredictionMetrics(metrics), **known), timeout_seconds=3_600)

    async def act(client: httpx.AsyncClient) -> list[httpx.Response]:
        headers = JSON | {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
        late = asyncio.create_task(client.post(path, content=orjson.dumps(content), headers=headers))
        await asyncio.to_thread(is_asked.wait, 60)
        [deadline] = front._deadlines._open
        deadline.expire()
        try:
            return [await late]
        finally:
            is_over.set()

    [answer] = ask(front, act)
    request_id = answer.headers["x-request-id"]
    assert (answer.status_code, answer.headers["x-model-version"]) == (504, "7")
    assert answer.json().get("request_id", request_id) == request_id
    assert metrics.get_sample_value("mlops_prediction_refusals_total", {"status": "504"}) == 1
    assert spans.noted == [(request_id, 504)]
    lines = [vars(line) for line in caplog.records if line.name == "serving.requests"]
    assert [(line["request_id"], line["status"]) for line in lines] == [(request_id, 504)]


def test_a_body_that_does_not_arrive_in_time_is_not_a_failure_of_the_server(
    follower: Follower, metrics: CollectorRegistry
) -> None:
    asyncio.run(follower.restore())
    app = PredictionApp(follower, PredictionMetrics(metrics), default_model="iris", pages=None)
    front, sent, is_reading = make_front(app, timeout_seconds=3_600), [], asyncio.Event()

    async def receive() -> Any:
        is_reading.set()
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    async def run() -> None:
        headers = [(name.encode(), value.encode()) for name, value in JSON.items()]
        scope = {"type": "http", "path": "/predict", "method": "POST", "headers": headers, "query_string": b""}
        late = asyncio.create_task(front(scope, receive, send))
        await is_reading.wait()
        [deadline] = front._deadlines._open
        deadline.expire()
        await late

    asyncio.run(run())
    assert sent[0]["status"] == 504
    assert metrics.get_sample_value("mlops_prediction_refusals_total", {"status": "504"}) is None


def test_deadlines_that_ended_cancel_nothing_and_are_not_kept() -> None:
    async def run() -> None:
        deadlines = Deadlines(0.01)
        ended = deadlines.begin()
        deadlines.end(ended)
        deadlines.end(ended)
        await asyncio.sleep(0.05)
        assert not ended.is_over
        late = deadlines.begin()  # the first timer has run: there must be another one
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(5)
        assert late.uncancel()

    asyncio.run(run())


def ask_busy_app(*paths: str) -> list[httpx.Response]:
    """Asks an app with one place, which the first request keeps until all are answered."""
    last = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == paths[0]:
            await last.wait()
        await Response("done")(scope, receive, send)

    async def act(client: httpx.AsyncClient) -> list[httpx.Response]:
        first = asyncio.create_task(client.get(paths[0]))
        await asyncio.sleep(0)
        others = [await client.get(path) for path in paths[1:]]
        last.set()
        return [await first, *others, await client.get("/predict")]

    return ask(make_front(app, max_concurrency=1), act)


def test_a_request_beyond_those_at_once_gets_a_429_that_says_when_to_come_again() -> None:
    first, refused, health, after = ask_busy_app("/slow", "/predict", "/livez")
    assert [first.status_code, refused.status_code, health.status_code, after.status_code] == [200, 429, 200, 200]
    assert refused.headers["retry-after"] == "1"
    assert "found 1 under way, expected fewer" in refused.json()["error"]


def test_requests_are_counted_by_path_and_status_under_bentomls_names() -> None:
    traffic, registry, mounted = Traffic(), CollectorRegistry(), MountedApp()
    registry.register(traffic)
    mounted.app = answer_as("own")
    get(Front(answer_as("framework"), mounted, traffic), "/predict", "/predict", "/livez", "/made/up", "/metrics")
    common = 'runner_name="predictions",service_name="predictions",service_version="not available"'
    lines = generate_latest(registry).decode().splitlines()
    ok = 'http_response_code="200"'
    assert f'bentoml_service_request_total{{endpoint="/predict",{ok},{common}}} 2.0' in lines
    assert f'bentoml_service_request_duration_seconds_count{{endpoint="other",{ok},{common}}} 1.0' in lines
    assert f'bentoml_service_request_in_progress{{endpoint="/predict",{common}}} 0.0' in lines
    assert [line for line in lines if line.startswith(f"bentoml_service_last_request_timestamp_seconds{{{common}}} 1")]
    assert not [line for line in lines if "/metrics" in line]


@pytest.mark.parametrize("path", ["/predict", "/livez"])
def test_the_time_in_which_a_client_reads_the_response_does_not_count(path: str) -> None:
    traffic, mounted, now = Traffic(), MountedApp(), 0.0
    mounted.app = answer_as("own")

    async def read_slowly(message: Any) -> None:
        nonlocal now
        now += 60 if message["type"] == "http.response.body" else 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("serving.api.front.perf_counter", lambda: now)
        scope = {"type": "http", "path": path, "method": "GET", "headers": []}
        asyncio.run(Front(mounted.app, mounted, traffic)(scope, read_slowly, read_slowly))  # type: ignore[arg-type]
    assert [found.seconds for found in traffic._durations.values()] == [1]
