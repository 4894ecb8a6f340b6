"""The Open Inference Protocol's part of the API's description."""

from __future__ import annotations

from typing import Any

from serving.answering.tensors import DATATYPES
from serving.errors import INFERENCE_STATUSES
from serving.quoting import MAX_QUOTED

ERROR = {
    "content": {
        "application/json": {
            "schema": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
        }
    }
}

TENSOR: dict[str, Any] = {
    "type": "object",
    "required": ["name", "shape", "datatype", "data"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 2},
        "datatype": {
            "enum": list(DATATYPES),
            "description": "its range is checked; BOOL is for features of 0 and 1, and for categories true and false",
        },
        "data": {"type": "array", "description": "as many values as the shape says, flat or nested"},
    },
}

REQUEST: dict[str, Any] = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": ["string", "null"], "maxLength": MAX_QUOTED},
        "inputs": {
            "type": "array",
            "minItems": 1,
            "items": TENSOR,
            "description": "one of shape [rows, features] for a model of numbers, or one for each feature",
        },
    },
}

ANSWER: dict[str, Any] = {
    "type": "object",
    "required": ["model_name", "model_version", "id", "outputs"],
    "properties": {
        **{name: {"type": "string"} for name in ("model_name", "model_version", "id")},
        "outputs": {"type": "array", "items": TENSOR},
        "parameters": {
            "type": "object",
            "description": "absent without warnings",
            "properties": {
                "warnings": {"type": "string", "description": "JSON: a list of row, field and warning, as of /predict"}
            },
        },
    },
}

READ_ERRORS = {status: INFERENCE_STATUSES[status] for status in (404, 405, 429, 503)}


def describe_inference_server() -> dict[str, Any]:
    """The paths about the server."""
    return {
        "/v2": _describe_reading("inference_server", "Tell the server's name"),
        "/v2/health/live": _describe_reading("inference_live", "Tell whether the server is alive"),
        "/v2/health/ready": _describe_reading("inference_ready", "Tell whether any model can answer"),
    }


def describe_inference_model(name: str, example: list[list[Any]], width: int) -> dict[str, Any]:
    """The paths about one model."""
    path = f"/v2/models/{name}"
    body: dict[str, Any] = {"schema": REQUEST}
    if all(isinstance(cell, int | float) for row in example for cell in row):
        tensor = {"name": "rows", "shape": [len(example), width], "datatype": "FP32", "data": example}
        body["example"] = {"inputs": [tensor]}
    return {
        path: _describe_reading(f"inference_model_{name}", f"Tell what the model {name} reads and answers"),
        f"{path}/ready": _describe_reading(f"inference_model_ready_{name}", f"Tell whether {name} can answer"),
        f"{path}/infer": {
            "post": {
                "operationId": f"infer_{name}",
                "summary": f"Answer tensors with the model {name}; /versions/VERSION before /infer asks for a version",
                "tags": ["Open Inference Protocol"],
                "requestBody": {"required": True, "content": {"application/json": body}},
                "responses": _describe_responses(ANSWER, INFERENCE_STATUSES),
            }
        },
    }


def _describe_reading(operation: str, summary: str) -> dict[str, Any]:
    responses = _describe_responses({"type": "object"}, READ_ERRORS)
    reading = {"operationId": operation, "summary": summary, "tags": ["Open Inference Protocol"]}
    return {"get": reading | {"responses": responses}}


def _describe_responses(schema: dict[str, Any], errors: dict[int, str]) -> dict[str, Any]:
    answer = {"description": "as of now", "content": {"application/json": {"schema": schema}}}
    return {"200": answer} | {str(status): {"description": meaning, **ERROR} for status, meaning in errors.items()}
