from __future__ import annotations

import asyncio
import subprocess
import sys
from importlib import import_module
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY

from serving.api import bentoml_seam
from serving.api.front import MountedApp

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def build_app() -> Any:
    """BentoML's own app around the service, as its worker builds it."""
    return import_module("serving.service").PredictionService.to_asgi(is_main=True)


async def visit(app: Any, paths: list[str]) -> None:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://serving") as client:
        for path in paths:
            await client.get(path)


def test_bentoml_builds_its_app_without_tracing_limits_access_log_and_metrics_of_its_own() -> None:
    names = [f"{item.cls.__module__}.{item.cls.__qualname__}" for item in build_app().framework.user_middleware]
    own = [name for name in names if not name.startswith("_bentoml_impl.server.app.ContextMiddleware")]
    assert own == ["serving.api.bentoml_seam.pass_through"] * 3


def test_no_client_can_grow_the_labels_of_the_metrics() -> None:
    made_up = [f"/made/up/{number}" for number in range(5)]
    asyncio.run(visit(build_app(), [*made_up, *(f"/models/model{number}/predict" for number in range(5))]))
    families = {family.name: family for family in REGISTRY.collect()}
    endpoints = {sample.labels["endpoint"] for sample in families["bentoml_service_request"].samples}
    assert {"other", "/models/{name}/predict"} <= endpoints
    assert not [endpoint for endpoint in endpoints if "made" in endpoint or "model1" in endpoint]


def test_uvicorn_prepares_no_access_line_and_reads_no_header_of_a_proxy() -> None:
    build_app()
    config = import_module("uvicorn").Config("app")
    assert not config.access_log
    assert not config.proxy_headers


def test_a_moved_middleware_is_said_clearly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(import_module(bentoml_seam.TRACING[0]), bentoml_seam.TRACING[1])
    with pytest.raises(RuntimeError, match=r"found none, expected the one of BentoML 1\.4"):
        bentoml_seam.adapt_bentoml(MountedApp())


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
