"""Everything that is not a prediction: what serves, readiness, the API's description, errors as JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import bentoml
import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from serving.answering.shadow import Shadows
from serving.api.evidence import EvidenceBook
from serving.api.feedback import FeedbackDesk, make_feedback_route
from serving.api.inference_pages import answer_inference_error, make_inference_routes
from serving.api.openapi import describe_api
from serving.api.status import describe_readiness, describe_rollouts, list_served
from serving.errors import STATUS_HEADERS, RequestError
from serving.figures import EVIDENCE_PATH
from serving.following.follower import Follower
from serving.quoting import shorten

JSON = b"application/json"

DOCS_PAGE = b"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Predictions API</title>
<link rel="stylesheet" href="docs/assets/swagger-ui.css"></head>
<body><div id="swagger-ui"></div>
<script src="docs/assets/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script></body>
</html>
"""

DOCS_SCRIPT = b'SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui"});\n'

DOCS_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'self'"


def make_pages(
    follower: Follower,
    *,
    pool: str,
    replica: str,
    default_model: str,
    evidence: EvidenceBook | None = None,
    feedback: FeedbackDesk | None = None,
    shadows: Shadows | None = None,
) -> Starlette:
    """The app of all paths but predictions."""

    async def list_models(_: Request) -> Response:
        return _answer({"pool": pool, "default_model": default_model, "models": list_served(follower)})

    async def list_rollouts(_: Request) -> Response:
        return _answer(describe_rollouts(follower))

    async def show_readiness(_: Request) -> Response:
        counts = shadows.list_counts() if shadows else {}
        state = {"pool": pool, "replica": replica, **describe_readiness(follower, counts)}
        return _answer(state, 200 if follower.is_ready else 503)

    async def show_evidence(_: Request) -> Response:
        return _answer((evidence or EvidenceBook()).describe())

    async def show_openapi(_: Request) -> Response:
        return _answer(describe_api(follower.slots, default_model))

    pages = Starlette(
        routes=[
            Route("/models", list_models),
            Route("/rollouts", list_rollouts),
            Route("/readyz", show_readiness),
            Route(EVIDENCE_PATH, show_evidence),
            make_feedback_route(feedback),
            *make_inference_routes(follower),
            Route("/openapi.json", show_openapi),
            Route("/docs", _show_docs),
            Route("/docs/", _redirect_to_docs),
            Route("/docs/start.js", _show_docs_script),
            Mount("/docs/assets", StaticFiles(directory=_find_assets())),
        ],
        exception_handlers={
            HTTPException: _answer_http_error,
            RequestError: _answer_request_error,
            Exception: _answer_failure,
        },
    )
    # Starlette would redirect to an absolute address made of the header Host, which any client can set.
    pages.router.redirect_slashes = False
    return pages


def render_error(error: RequestError, request_id: str) -> bytes:
    """The body of every error."""
    detail = [asdict(problem) for problem in error.detail]
    return orjson.dumps({"error": error.message, "detail": detail, "request_id": request_id})


def answer_error(error: RequestError, headers: Mapping[str, str] | None = None) -> Response:
    """An error as a response of its own."""
    request_id = os.urandom(16).hex()
    all_headers = {"x-request-id": request_id, **(headers or {})}
    if error.status in STATUS_HEADERS:
        name, value = STATUS_HEADERS[error.status]
        if name.decode() not in map(str.lower, all_headers):  # Starlette's own Allow names the path's methods
            all_headers[name.decode()] = value.decode()
    return Response(render_error(error, request_id), error.status, all_headers, media_type=JSON.decode())


def _answer(content: Mapping[str, Any], status: int = 200) -> Response:
    headers = {"x-request-id": os.urandom(16).hex(), "cache-control": "no-store"}
    return Response(orjson.dumps(content), status, headers, media_type=JSON.decode())


async def _answer_http_error(request: Request, error: Exception) -> Response:
    status, headers = (error.status_code, error.headers) if isinstance(error, HTTPException) else (500, None)
    found = shorten(f"{request.method} {request.url.path}")
    problem = RequestError(status, f"found {found}, expected what /openapi.json lists")
    if request.url.path.startswith("/v2"):
        return answer_inference_error(problem, headers)
    return answer_error(problem, headers)


async def _answer_request_error(_: Request, error: Exception) -> Response:
    return answer_error(error) if isinstance(error, RequestError) else await _answer_failure(_, error)


async def _answer_failure(_: Request, error: Exception) -> Response:
    """Starlette raises the error again after this response, so that the server logs it."""
    return answer_error(RequestError(500, "the server failed; its log has more"))


async def _show_docs(_: Request) -> Response:
    return Response(DOCS_PAGE, headers={"content-security-policy": DOCS_POLICY}, media_type="text/html")


async def _redirect_to_docs(_: Request) -> Response:
    """The page's own addresses are relative to a path without the slash."""
    return Response(status_code=308, headers={"location": "../docs"})


async def _show_docs_script(_: Request) -> Response:
    return Response(DOCS_SCRIPT, media_type="text/javascript")


def _find_assets() -> Path:
    """Swagger UI from BentoML's package, so that the page does not need another host."""
    return Path(bentoml.__file__).parent / "_internal" / "server" / "static_content"
