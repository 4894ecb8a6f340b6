"""The app of a replica without its server, asked in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
from prometheus_client import CollectorRegistry

from serving.api.app import PredictionApp
from serving.api.metrics import PredictionMetrics
from serving.api.pages import make_pages
from serving.api.prediction_log import PredictionLog
from serving.api.spans import RequestSpans
from serving.following.follower import Follower

type Ask = Callable[..., httpx.Response]

ARRAYS = "[[5.1, 3.5, 1.4, 0.2]]"
JSON = {"content-type": "application/json"}


def make_client(
    follower: Follower,
    metrics: CollectorRegistry,
    log: PredictionLog | None = None,
    spans: RequestSpans | None = None,
) -> Ask:
    pages = make_pages(follower, pool="stable", replica="one", default_model="iris")
    app = PredictionApp(follower, PredictionMetrics(metrics), default_model="iris", pages=pages, log=log, spans=spans)

    def ask(method: str, path: str, **options: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://serving") as client:
                return await client.request(method, path, **options)

        return asyncio.run(send())

    return ask


def read(metrics: CollectorRegistry, name: str, **labels: str) -> float | None:
    version = {"model": "iris", "version": "7", "variant": "champion", "traffic": "live"}
    return metrics.get_sample_value(name, version | labels)
