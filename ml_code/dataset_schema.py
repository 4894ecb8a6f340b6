"""The JSON schema of a dataset's TOML file, with which editors complete, explain and check its keys."""

from __future__ import annotations

import json
from typing import Any

from ml_code.datasets import Dataset
from ml_code.families import FAMILIES, Family, Hyperparameter, Task, find_family

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SHIPPED = "../../docs/dataset.schema.json"
"""The shipped schema, seen from the folder of the catalog."""

COMMENT = f"#:schema {SHIPPED}"
"""The first line of a TOML file of the shipped catalog: editors find the schema by it."""


def make_schema() -> dict[str, Any]:
    """The schema of the classes that read the file.

    Every key has a description, an example, and its default if leaving it out means one.
    """
    schema = _simplify(Dataset.model_json_schema())
    schema["properties"]["hyperparameters"]["properties"] = {name: _describe_family(name) for name in FAMILIES}
    schema["properties"]["hyperparameters"]["additionalProperties"] = False
    del schema["$defs"]["HyperparameterValue"]  # only the replaced table used it
    return {"$schema": DIALECT, "title": "A dataset of mlops-loop", **schema}


def render_schema() -> str:
    """The schema as the text of a file."""
    return json.dumps(make_schema(), indent=2, ensure_ascii=False) + "\n"


def _simplify(part: Any) -> Any:
    """Returns a part of pydantic's schema without nulls, which TOML lacks, and without repeated names."""
    if isinstance(part, list):
        return [_simplify(entry) for entry in part]
    if not isinstance(part, dict):
        return part
    kept = {key: value for key, value in part.items() if not (key == "title" and isinstance(value, str))}
    if isinstance(description := kept.get("description"), str):  # of a class: the first line of its docstring
        kept["description"] = description.partition("\n")[0]
    if kept.get("default", 0) is None:
        del kept["default"]
    elif "examples" in kept and "default" not in kept and (empty := _find_empty(kept)) is not None:
        kept["default"] = empty
    others = [choice for choice in kept.get("anyOf", []) if choice != {"type": "null"}]
    if len(others) == 1:
        kept = {**others[0], **{key: value for key, value in kept.items() if key != "anyOf"}}
    return {key: _simplify(value) for key, value in kept.items()}


def _find_empty(key: dict[str, Any]) -> list[Any] | dict[str, Any] | None:
    """The default of a list or table: an empty one."""
    if key.get("type") == "array":
        return []
    return {} if key.get("type") == "object" else None


def _describe_family(name: str) -> dict[str, Any]:
    """The hyperparameters of a family, those of both tasks."""
    found: dict[str, Hyperparameter] = {}
    tasks: tuple[Task, ...] = ("classification", "regression")
    for task in tasks:
        found |= _find_family(name, task).hyperparameters
    return {
        "type": "object",
        "description": f"hyperparameters of {name}",
        "additionalProperties": False,
        "properties": {key: _describe_hyperparameter(allowed) for key, allowed in found.items()},
    }


def _find_family(name: str, task: Task) -> Family:
    model_type, estimator = FAMILIES[name]
    return find_family(model_type, estimator, task)


def _describe_hyperparameter(allowed: Hyperparameter) -> dict[str, Any]:
    kind = "integer" if allowed.kind is int else "number"
    number = {"type": kind, "minimum": allowed.minimum, "maximum": allowed.maximum}
    form: dict[str, Any] = {"anyOf": [number, {"enum": list(allowed.choices)}]} if allowed.choices else number
    return {**form, "description": f"{kind} {allowed.describe().removesuffix(' or null').partition(' ')[2]}"}
