"""The Open Inference Protocol besides predictions: liveness, ready models, and the inputs that they read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.answering.served import ServedModel
from serving.api.request import pick_version
from serving.errors import RequestError
from serving.following.follower import Follower

SERVER = {"name": "mlops-loop", "version": "2", "extensions": ["binary_tensor_data"]}


def make_inference_routes(follower: Follower) -> list[Route]:
    """The protocol's routes but `infer`."""

    async def show_server(_: Request) -> Response:
        return _answer(SERVER)

    async def show_life(_: Request) -> Response:
        return _answer({"live": True})

    async def show_readiness(_: Request) -> Response:
        return _answer({"ready": follower.is_ready}, 200 if follower.is_ready else 503)

    async def show_model(request: Request) -> Response:
        try:
            served = find_served(follower, request)
        except RequestError as error:
            return answer_inference_error(error)
        return _answer(served.describe_inference())

    async def show_model_readiness(request: Request) -> Response:
        try:
            served = find_served(follower, request)
        except RequestError as error:
            return answer_inference_error(error)
        return _answer({"name": served.identity.name, "ready": True})

    return [
        Route("/v2", show_server),
        Route("/v2/health/live", show_life),
        Route("/v2/health/ready", show_readiness),
        *_at_models("", show_model),
        *_at_models("/ready", show_model_readiness),
    ]


def find_served(follower: Follower, request: Request) -> ServedModel:
    """The version that a request means: the one in its path, or the one that answers it.

    Raises:
        RequestError: it does not serve.
    """
    name, version = request.path_params["name"], request.path_params.get("version")
    wants_challenger = request.headers.get("x-pool") == "canary"
    return pick_version(follower, name, version, wants_challenger=wants_challenger)


def describe_inference_error(error: RequestError) -> str:
    """An error with every problem in one text, as the protocol has it."""
    problems = [f"row {problem.row} {problem.field or ''}: {problem.problem}" for problem in error.detail]
    return "; ".join([error.message, *problems])


def render_inference_error(error: RequestError) -> bytes:
    """The same as the body of a response."""
    return orjson.dumps({"error": describe_inference_error(error)})


def answer_inference_error(error: RequestError, headers: Mapping[str, str] | None = None) -> Response:
    """An error as a response of its own."""
    return _respond(render_inference_error(error), error.status, headers)


def _at_models(path: str, endpoint: Any) -> list[Route]:
    return [
        Route(f"/v2/models/{{name}}{path}", endpoint),
        Route(f"/v2/models/{{name}}/versions/{{version}}{path}", endpoint),
    ]


def _answer(content: Mapping[str, Any], status: int = 200) -> Response:
    return _respond(orjson.dumps(content), status)


def _respond(body: bytes, status: int, headers: Mapping[str, str] | None = None) -> Response:
    all_headers = {"x-request-id": os.urandom(16).hex(), "cache-control": "no-store", **(headers or {})}
    return Response(body, status, all_headers, media_type="application/json")
