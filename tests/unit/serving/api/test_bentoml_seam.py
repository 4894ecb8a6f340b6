from __future__ import annotations

import asyncio
import subprocess
import sys
from importlib import import_module
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.api import bentoml_seam

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def build_app() -> Any:
    """BentoML's own app around the service, as its worker builds it."""
    return import_module("serving.service").PredictionService.to_asgi(is_main=True)


async def visit(app: Any, paths: list[str]) -> None:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://serving") as client:
        for path in paths:
            await client.get(path)


def middleware_names(app: Any) -> list[str]:
    return [f"{item.cls.__module__}.{item.cls.__qualname__}" for item in app.user_middleware]


def test_bentoml_builds_its_app_without_tracing_and_access_log_and_with_bounded_metrics() -> None:
    names = middleware_names(build_app())
    assert names[0] == "serving.api.bentoml_seam.bound_labels.<locals>.build"
    assert names[1] == "serving.api.bentoml_seam.pass_through"
    assert not [name for name in names if "OpenTelemetry" in name or "AccessLog" in name]
    assert "serving.api.bentoml_seam.limit_time" in names
    assert "serving.api.bentoml_seam.limit_requests" in names


def test_no_client_can_grow_the_labels_of_the_metrics() -> None:
    made_up = [f"/made/up/{number}" for number in range(5)]
    asyncio.run(visit(build_app(), [*made_up, *(f"/models/model{number}/predict" for number in range(5))]))
    families = {family.name: family for family in REGISTRY.collect()}
    endpoints = {sample.labels["endpoint"] for sample in families["bentoml_service_request"].samples}
    assert {"other", "/models/{name}/predict"} <= endpoints
    assert not [endpoint for endpoint in endpoints if "made" in endpoint or "model1" in endpoint]


def test_a_moved_middleware_is_said_clearly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(import_module(bentoml_seam.TRACING[0]), bentoml_seam.TRACING[1])
    with pytest.raises(RuntimeError, match=r"found none, expected the one of BentoML 1\.4"):
        bentoml_seam.adapt_bentoml()


def ask_slow_app(timeout: float) -> httpx.Response:
    async def slow_app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.05)
        await Response("late")(scope, receive, send)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=bentoml_seam.limit_time(slow_app, timeout))
        async with httpx.AsyncClient(transport=transport, base_url="http://serving") as client:
            return await client.get("/")

    return asyncio.run(ask())


def ask_busy_app(*paths: str) -> list[httpx.Response]:
    """Asks an app with one place, which the first request keeps until all are answered."""
    last = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == paths[0]:
            await last.wait()
        await Response("done")(scope, receive, send)

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=bentoml_seam.limit_requests(app, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://serving") as client:
            first = asyncio.create_task(client.get(paths[0]))
            await asyncio.sleep(0)
            others = [await client.get(path) for path in paths[1:]]
            last.set()
            return [await first, *others, await client.get("/predict")]

    return asyncio.run(ask())


def test_a_request_beyond_those_at_once_gets_a_429_that_says_when_to_come_again() -> None:
    first, refused, health, after = ask_busy_app("/slow", "/predict", "/livez")
    assert [first.status_code, refused.status_code, health.status_code, after.status_code] == [200, 429, 200, 200]
    assert refused.headers["retry-after"] == "1"
    assert "found 1 under way, expected fewer" in refused.json()["error"]


def test_a_request_that_takes_too_long_gets_a_504_as_json() -> None:
    answer = ask_slow_app(timeout=0.01)
    assert answer.status_code == 504
    assert "found no answer after 0.01 s" in answer.json()["error"]


def test_a_request_in_time_is_left_alone() -> None:
    assert ask_slow_app(timeout=10).text == "late"


def test_a_logger_that_was_made_before_the_worker_starts_is_heard() -> None:
    """In a process of its own: the settings count for all of it."""
    program = """
import logging, logging.config
from bentoml._internal.log import SERVER_LOGGING_CONFIG
from serving.api.bentoml_seam import format_log
logger = logging.getLogger("serving")
format_log("text")
logging.config.dictConfig(SERVER_LOGGING_CONFIG)
logger.warning("version 7 is refused")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "[WARNING] serving version 7 is refused" in done.stdout + done.stderr
