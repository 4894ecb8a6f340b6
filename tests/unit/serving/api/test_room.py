"""Large requests share a bounded room, and leave requests of one row theirs."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import orjson
import pytest
from prometheus_client import CollectorRegistry

from serving import limits
from serving.answering import served as serving_model
from serving.api.app import PredictionApp
from serving.api.metrics import PredictionMetrics
from serving.api.pages import make_pages
from serving.following.follower import Follower
from serving.limits import HELD_BYTES, LARGE_BYTES, MAX_BODY_BYTES
from tests.unit.serving.app_client import ARRAYS, JSON, Ask

ROWS = orjson.dumps([[5.1, 3.5, 1.4, 0.2]] * 1_000)
TENSOR = orjson.dumps({"inputs": [{"name": "rows", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]})

TWO_TENSOR_ROWS = TENSOR.replace(b"[1,4]", b"[2,4]").replace(b"4]}", b"4,1,2,3,4]}")


def make_app(follower: Follower) -> PredictionApp:
    asyncio.run(follower.restore())
    pages = make_pages(follower, pool="stable", replica="one", default_model="iris")
    return PredictionApp(follower, PredictionMetrics(CollectorRegistry()), default_model="iris", pages=pages)


async def post(app: PredictionApp, path: str, content: Any) -> httpx.Response:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://serving") as client:
        return await client.post(path, content=content, headers=JSON)


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("/predict", ROWS, 429),
        ("/predict", ARRAYS, 200),
        ("/v2/models/iris/infer", TENSOR + b" " * LARGE_BYTES, 429),
        ("/v2/models/iris/infer", TENSOR, 200),
        ("/predict", b"[" + b" " * LARGE_BYTES + b"]", 429),
    ],
    ids=["large", "one row", "large tensor", "one tensor", "many bytes"],
)
def test_where_the_room_is_full_only_small_requests_are_answered(
    follower: Follower, path: str, content: bytes, status: int
) -> None:
    app = make_app(follower)
    app.predictions.room.hold(HELD_BYTES - 1_000)
    answer = asyncio.run(post(app, path, content))
    assert answer.status_code == status
    if status == 429:
        assert answer.headers["retry-after"] == "1"
        assert "send it again in a second, or with fewer rows" in answer.json()["error"]
    assert (app.predictions.room.held_bytes, app.predictions.room.requests) == (HELD_BYTES - 1_000, 1)


def test_a_body_without_an_announced_size_counts_as_the_largest(follower: Follower) -> None:
    async def stream() -> Any:
        yield ARRAYS.encode()

    app = make_app(follower)
    app.predictions.room.hold(HELD_BYTES - MAX_BODY_BYTES + 1)
    assert asyncio.run(post(app, "/predict", stream())).status_code == 429


@pytest.mark.parametrize("content", [ROWS, b"[" + b" " * LARGE_BYTES, ROWS.replace(b"5.1", b'"x"')])
def test_each_request_returns_its_room_whatever_becomes_of_it(follower: Follower, content: bytes) -> None:
    app = make_app(follower)
    for _ in range(3):
        asyncio.run(post(app, "/predict", content))
    assert (app.predictions.room.held_bytes, app.predictions.room.requests) == (0, 0)


def test_a_large_response_waits_for_room_too(follower: Follower) -> None:
    app = make_app(follower)
    app.predictions.room.hold(HELD_BYTES - len(ROWS) - 10_000)
    assert asyncio.run(post(app, "/predict", ROWS)).status_code == 200
    answer = asyncio.run(post(app, "/predict?probabilities=true", ROWS))
    assert (answer.status_code, app.predictions.room.requests) == (429, 1)


@pytest.mark.parametrize(
    ("path", "content", "refused"),
    [
        ("/predict?probabilities=true", "[[1,2,3,4],[1,2,3,4]]", (422, "ask without probabilities")),
        ("/predict?probabilities=true", "[[1,2,3,4]]", None),
        ("/predict", "[[1,2,3,4],[1,2,3,4]]", None),
        (
            "/v2/models/iris/infer",
            TWO_TENSOR_ROWS,
            (400, "only output"),
        ),
        ("/v2/models/iris/infer", TENSOR, None),
    ],
)
def test_more_probabilities_than_a_response_holds_are_refused(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, path: str, content: Any, refused: tuple[int, str] | None
) -> None:
    monkeypatch.setattr(serving_model, "MAX_PROBABILITIES", 5)
    answer = ask("POST", path, content=content, headers=JSON)
    status, way = refused or (200, "")
    assert answer.status_code == status
    assert way in answer.json().get("error", "")


def test_a_response_fits_the_room() -> None:
    longest_number_bytes = 24
    assert limits.MAX_PROBABILITIES * longest_number_bytes + MAX_BODY_BYTES < HELD_BYTES
