"""Requests that MLflow refuses from everybody, admins too: unused features, and addresses that a client chooses.

MLflow reads and writes the object store with its own key. Whoever chose where a run or a model version lies would read
and write with that key as well, so the server chooses, and a version's source is a run or a model of this server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from flask import Request, Response, jsonify

READS = frozenset({"GET", "HEAD", "OPTIONS"})

API = re.compile(r"/(?:ajax-)?api/[0-9]+\.[0-9]+/(?:mlflow/)?([^/]+)")

OPEN_FAMILIES = frozenset(
    {
        "artifacts",
        "datasets",
        "experiments",
        "issues",
        "label-schemas",
        "logged-models",
        "metrics",
        "mlflow-artifacts",
        "model-versions",
        "registered-models",
        "review-queues",
        "roles",
        "runs",
        "traces",
        "ui-telemetry",
        "upload-artifact",
        "users",
    }
)
"""Groups of the API that may be written to; a group that a newer MLflow adds stays closed until it is listed here."""

OPEN_PATHS = frozenset({"/graphql", "/v1/traces"})

SILENT_FAMILIES = frozenset({"assistant", "gateway-proxy", "jobs"})
"""Groups that are not even read from: they run programs of the server, or send its requests elsewhere."""

CLOSED_PATHS = re.compile(
    r"/gateway/|/(?:ajax-)?api/[0-9.]+/(?:mlflow/(?:issues/invoke|runs/create-promptlab-run|artifacts/presigned-)"
    r"|mlflow-artifacts/(?:mpu|presigned)/)"
)
"""Paths that start programs, or hand out addresses inside the object store."""

CHOSEN_PLACES = frozenset({"artifactlocation", "artifacturi", "artifactroot", "defaultartifactroot"})
"""Fields that say where the server stores files, without their underscores: MLflow reads both spellings."""

PLACE_TAGS = frozenset({"mlflow.artifactLocation", "mlflow.trace.archiveLocation"})

SOURCE = re.compile(r"(?:models|runs|mlflow-artifacts):/[^/\\?#\s][^\\?#\x00-\x1f\x7f]*")
PROMPT_SOURCES = frozenset({"dummy-source", "prompt-template"})
"""MLflow's prompts are versions without files; these words stand in the place of a source."""

LONGEST_SOURCE = 500
"""Characters that MLflow stores; in a longer one `%252525...` would take minutes to decode."""

LONGEST_QUOTE = 80


def find_refusal(request: Request) -> Response | None:
    """Returns the answer that refuses a request whoever sends it; None for a request that may go on."""
    if not is_open(request.method, request.path):
        return _refuse(404, "ENDPOINT_NOT_FOUND", f"{request.path}: this stack does not offer it")
    if request.method in READS:
        return None
    problem = find_chosen_place(_read_body(request), is_version=request.path.endswith("/model-versions/create"))
    return _refuse(400, "INVALID_PARAMETER_VALUE", problem) if problem else None


def is_open(method: str, path: str) -> bool:
    """Whether the stack offers this part of MLflow at all."""
    if CLOSED_PATHS.match(path):
        return False
    found = API.match(path)
    family = found[1] if found else None
    if method in READS:
        return family not in SILENT_FAMILIES
    return family in OPEN_FAMILIES or path in OPEN_PATHS


def find_chosen_place(body: object, *, is_version: bool = False) -> str | None:
    """Returns what is wrong with the first address in a request's body; None if it has none of its own.

    >>> find_chosen_place({"name": "a", "artifact_location": "s3://datasets"})
    "artifact_location: found 's3://datasets', expected none: the server chooses where files lie; leave it out"
    """
    for name, value in _walk(body):
        plain = name.replace("_", "").lower()
        if plain in CHOSEN_PLACES or name in PLACE_TAGS:
            if value not in (None, ""):
                return f"{name}: found {_quote(value)}, expected none: the server chooses where files lie; leave it out"
        elif is_version and plain == "source" and not is_own_source(value):
            return (
                f"source: found {_quote(value)}, expected a model of this server (models:/, runs:/ or "
                "mlflow-artifacts:/ without ..); log the file to a run, and register that"
            )
    return None


def is_own_source(source: object) -> bool:
    """Whether a version's source is a model, a run or an artifact of this server, without a way out of it."""
    if not isinstance(source, str) or len(source) > LONGEST_SOURCE:
        return False
    while (decoded := unquote(source)) != source:
        source = decoded
    is_local = SOURCE.fullmatch(source) is not None and ".." not in source.split("/")
    return is_local or source in PROMPT_SOURCES


def _read_body(request: Request) -> object:
    """The body as MLflow reads it: JSON whatever its type says, and older clients encode it twice."""
    body = request.get_json(force=True, silent=True)
    if isinstance(body, str):
        try:
            return json.loads(body)
        except ValueError:
            return None
    return body


def _walk(body: object) -> Iterator[tuple[str, Any]]:
    """Names and values at every depth; a tag's key counts as a name."""
    waiting = [body]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield from found.items()
            if isinstance(found.get("key"), str):
                yield found["key"], found.get("value")
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found


def _quote(value: object) -> str:
    return repr(value if len(str(value)) <= LONGEST_QUOTE else f"{str(value)[:LONGEST_QUOTE]}...")


def _refuse(status: int, code: str, message: str) -> Response:
    answer = jsonify({"error_code": code, "message": message})
    answer.status_code = status
    return answer
