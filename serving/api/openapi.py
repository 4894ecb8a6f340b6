"""The API's description, made from what serves at this moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_code.model_file.spec import ModelSpec, Value
from serving.answering.cells import make_reader
from serving.answering.findings import MAX_PROBLEMS
from serving.answering.served import ServedModel
from serving.api.feedback import PATH, describe_feedback
from serving.api.openapi_inference import describe_inference_model, describe_inference_server
from serving.errors import FEEDBACK_STATUSES, STATUSES
from serving.following.follower import Slot
from serving.limits import MAX_ROWS
from serving.registry.names import CHAMPION

NUMBER = {"type": ["number", "null"], "description": "null where the model's result is not a number"}

ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {"type": "string"},
        "request_id": {"type": "string"},
        "detail": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["row", "field", "problem"],
                "properties": {
                    "row": {"type": ["integer", "null"], "description": "number of the row, from 0"},
                    "field": {"type": ["string", "null"]},
                    "problem": {"type": "string"},
                },
            },
        },
    },
}

MODELS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["pool", "default_model", "models"],
    "properties": {
        "pool": {"type": "string"},
        "default_model": {"type": "string"},
        "models": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "version", "variant", "since", "sha256", "task", "features"],
                "properties": {
                    "name": {"type": "string"},
                    "version": {"type": "string"},
                    "variant": {"enum": ["champion", "challenger"]},
                    "since": {"type": "string", "format": "date-time"},
                },
            },
        },
    },
}

VERSION = {"type": ["string", "null"]}

WARNINGS_SCHEMA: dict[str, Any] = {
    "type": "array",
    "maxItems": MAX_PROBLEMS,
    "description": "cells that training did not know; absent if there are none. A dataset with "
    '`unknown = "refuse"` gets them as problems of a 422',
    "items": {
        "type": "object",
        "required": ["row", "field", "warning"],
        "properties": {
            "row": {"type": "integer", "description": "number of the row, from 0"},
            "field": {"type": "string"},
            "warning": {"type": "string"},
        },
    },
}

ROLLOUTS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["registry", "models"],
    "properties": {
        "registry": {
            "type": "object",
            "properties": {"reachable": {"type": "boolean"}, "read_at": {"type": ["string", "null"]}},
        },
        "models": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "champion", "challenger", "previous", "canary_until", "rollout"],
                "properties": {
                    "name": {"type": "string"},
                    **dict.fromkeys(("champion", "challenger", "previous"), VERSION),
                    "canary_until": {"type": ["string", "null"], "format": "date-time"},
                    "rollout": {
                        "type": ["object", "null"],
                        "description": "the current or last one: kind, state, versions, times, verdict, figures",
                    },
                },
            },
        },
    },
}


def describe_api(slots: Mapping[Slot, ServedModel], default_model: str) -> dict[str, Any]:
    """An OpenAPI 3.1 document with one path for each model that has a champion, and one for the default."""
    specs = {name: served.model.spec for (name, alias), served in sorted(slots.items()) if alias == CHAMPION}
    paths: dict[str, Any] = {
        "/predict": {"post": _describe_prediction(default_model, specs.get(default_model), "predict")},
        "/models": {"get": _describe_listing("list_models", "List what serves", MODELS_SCHEMA)},
        "/rollouts": {"get": _describe_listing("list_rollouts", "Tell how far rollouts are", ROLLOUTS_SCHEMA)},
        PATH: {"post": _add_errors(describe_feedback())},
        **describe_inference_server(),
    }
    for name, spec in specs.items():
        paths[f"/models/{name}/predict"] = {"post": _describe_prediction(name, spec, f"predict_{name}")}
        paths |= describe_inference_model(name, spec.golden.rows[:2], len(spec.features))
    return {
        "openapi": "3.1.0",
        "info": {"title": "Predictions", "version": "1", "description": "Every model that serves, with its rows."},
        "paths": paths,
        "components": {"schemas": {"Error": ERROR_SCHEMA}},
    }


def _describe_prediction(name: str, spec: ModelSpec | None, operation: str) -> dict[str, Any]:
    body: dict[str, Any] = {"schema": _describe_rows(spec)}
    if spec is not None:
        body["examples"] = _make_examples(spec)
    operation_object: dict[str, Any] = {
        "operationId": operation,
        "summary": f"Answer rows with the model {name}",
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": {"200": _describe_answer(spec), **_describe_errors(STATUSES)},
    }
    if spec is None or spec.probabilities_output:
        operation_object["parameters"] = [
            {"name": "probabilities", "in": "query", "schema": {"type": "boolean", "default": False}}
        ]
    return operation_object


def _describe_rows(spec: ModelSpec | None) -> dict[str, Any]:
    row: dict[str, Any] = {"type": ["array", "object"]}
    if spec is not None:
        cells = {feature.name: make_reader(feature).describe() for feature in spec.features}
        by_position = {"type": "array", "prefixItems": list(cells.values()), "items": False, "minItems": len(cells)}
        by_name = {"type": "object", "properties": cells, "required": list(cells), "additionalProperties": False}
        row = {"anyOf": [by_position, by_name]}
    return {"type": "array", "minItems": 1, "maxItems": MAX_ROWS, "items": row}


def _make_examples(spec: ModelSpec) -> dict[str, Any]:
    rows: list[list[Value]] = spec.golden.rows[:2]
    names = [feature.name for feature in spec.features]
    return {
        "arrays": {"value": rows},
        "objects": {"value": [dict(zip(names, row, strict=True)) for row in rows]},
    }


def _describe_answer(spec: ModelSpec | None) -> dict[str, Any]:
    values: dict[str, Any] = {"type": "array"}
    if spec is not None and spec.classes is not None:
        values["items"] = {"enum": spec.classes}
    elif spec is not None and spec.task == "regression":
        values["items"] = NUMBER
    model = {
        "type": "object",
        "required": ["name", "version"],
        "properties": {"name": {"type": "string"}, "version": {"type": "string"}},
    }
    properties = {
        "predictions": values,
        "probabilities": {"type": "array", "items": {"type": "array", "items": NUMBER}},
        "classes": {"type": ["array", "null"]},
        "warnings": WARNINGS_SCHEMA,
        "model": model,
        "request_id": {"type": "string"},
    }
    schema = {"type": "object", "required": ["predictions", "model", "request_id"], "properties": properties}
    headers = {"X-Model-Version": {"schema": {"type": "string"}}, "X-Request-Id": {"schema": {"type": "string"}}}
    return {"description": "answers", "headers": headers, "content": {"application/json": {"schema": schema}}}


def _describe_listing(operation: str, summary: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    answer = {"description": "as of now", "content": {"application/json": {"schema": schema}}}
    return {
        "operationId": operation,
        "summary": summary,
        "responses": {"200": answer, **_describe_errors({status: STATUSES[status] for status in (405, 429)})},
    }


def _add_errors(operation: dict[str, Any]) -> dict[str, Any]:
    return operation | {"responses": operation["responses"] | _describe_errors(FEEDBACK_STATUSES)}


def _describe_errors(errors: Mapping[int, str]) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {str(status): {"description": meaning, "content": content} for status, meaning in errors.items()}
