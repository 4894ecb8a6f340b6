"""The reference of the site, from what the programs themselves know: commands, HTTP, TOML keys and settings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from ml_code.dataset_schema import make_schema
from ml_code.datasets import load_dataset
from ml_code.model_file.spec import Feature, GoldenRows, ModelSpec
from ml_code.settings import Settings
from mlops.app import COMMANDS, load_command
from serving.api.openapi import describe_api
from serving.settings import RolloutSettings, ServingSettings

REPOSITORY = Path(__file__).resolve().parents[2]


def write_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown; empty without rows."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return "\n".join(["| " + " | ".join(head) + " |", "|---" * len(head) + "|", *lines, ""]) if lines else ""


def code(value: object) -> str:
    """A code span; empty for an empty text."""
    text = str(value)
    return f"`{text}`" if text else ""


# --- the command ----------------------------------------------------------------------------------------------------


def write_commands() -> str:
    """Every command, by its own help."""
    parts = [
        "# The command `mlops`",
        "The text of `mlops COMMAND --help`, for every command. `--verbose` logs each step.",
    ]
    return "\n\n".join([*parts, *_describe_commands({name: load_command(name) for name in COMMANDS}, "mlops")]) + "\n"


def _describe_commands(commands: Mapping[str, Any], name: str) -> Iterator[str]:
    for key, command in commands.items():
        full = f"{name} {key}"
        if hasattr(command, "commands"):
            yield from _describe_commands(command.commands, full)
        else:
            yield _describe_command(command, full)


def _describe_command(command: Any, name: str) -> str:
    context = command.context_class(command, info_name=name)
    rows = [(code(usage), text) for usage, text in (entry.get_help_record(context) for entry in command.params)]
    usage = command.get_usage(context).removeprefix("Usage: ")
    return "\n\n".join(
        [
            f"## {name}",
            command.help or "",
            f"```text\n{usage}\n```",
            write_table(["argument or option", "meaning"], rows),
        ]
    )


# --- HTTP -----------------------------------------------------------------------------------------------------------


def describe_http() -> dict[str, Any]:
    """The OpenAPI document of a stack that serves the model iris."""
    iris = load_dataset("iris")
    spec = ModelSpec(
        dataset="iris",
        task="classification",
        target=iris.target,
        features=[Feature(name=name, kind="numeric") for name in iris.numeric],
        classes=iris.checks.columns[iris.target].allowed,
        prediction_output="label",
        probabilities_output="probabilities",
        golden=GoldenRows(rows=[[5.1, 3.5, 1.4, 0.2], [6.0, 2.9, 4.5, 1.5]], predictions=[0, 1]),
    )
    served: Any = SimpleNamespace(model=SimpleNamespace(spec=spec))
    return describe_api({("iris", "champion"): served}, "iris")


def write_http(document: Mapping[str, Any]) -> str:
    """Every path of the OpenAPI document."""
    parts = [
        "# The HTTP interface",
        "Paths of the gateway, here of a stack that serves the model `iris`. The running stack shows its own at "
        "`/docs`, with every model that serves. [The OpenAPI document](openapi.json) of this page.",
    ]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts.append(_describe_operation(f"{method.upper()} {path}", operation))
    return "\n\n".join(parts) + "\n"


def _describe_operation(name: str, operation: Mapping[str, Any]) -> str:
    parameters = [
        (code(entry["name"]), entry["in"], entry.get("description", describe_type(entry["schema"])))
        for entry in operation.get("parameters", [])
    ]
    parts = [f"## {name}", operation.get("summary", "") + ".", operation.get("description", "")]
    parts.append(write_table(["parameter", "in", "meaning"], parameters))
    for media, body in operation.get("requestBody", {}).get("content", {}).items():
        parts += [f"**Request**, `{media}`:", write_schema(body["schema"])]
        for key, example in body.get("examples", {}).items():
            parts.append(f"For example, rows as {key}:\n\n```json\n{json.dumps(example['value'])}\n```")
    answers = operation["responses"]
    for media, body in answers.get("200", {}).get("content", {}).items():
        parts += [f"**Response**, `{media}`:", write_schema(body["schema"])]
    statuses = [(code(status), answer.get("description", "")) for status, answer in answers.items()]
    parts.append(write_table(["status", "meaning"], statuses))
    return "\n\n".join(part for part in parts if part)


def write_schema(schema: Mapping[str, Any]) -> str:
    """The fields of a JSON schema as a table."""
    return write_table(["field", "type", "meaning"], _list_fields(schema, ""))


def _list_fields(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, str, str]]:
    is_table = "properties" in schema
    if not is_table or (path and not path.endswith("[]")):
        yield code(path) or "the whole body", describe_type(schema), schema.get("description", "")
    for name, field in schema.get("properties", {}).items():
        yield from _list_fields(field, f"{path}.{name}" if path else name)
    if isinstance(items := schema.get("items"), dict) and ("properties" in items or "anyOf" in items):
        yield from _list_fields(items, f"{path}[]")


def describe_type(schema: Mapping[str, Any]) -> str:
    """The type of a JSON schema in words."""
    if "const" in schema:
        return code(json.dumps(schema["const"], ensure_ascii=False))
    if "enum" in schema:
        return ", ".join(code(json.dumps(value, ensure_ascii=False)) for value in schema["enum"])
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return " or ".join(describe_type(entry) for entry in schema[choice])
    kind = schema.get("type", "any")
    if kind == "array" and isinstance(schema.get("items"), dict) and schema["items"]:
        return f"array of {describe_type(schema['items'])}"
    words = [kind] if isinstance(kind, str) else [" or ".join(kind)]
    bounds = (("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "to"), ("exclusiveMaximum", "below"))
    words += [f"{word} {schema[key]:g}" for key, word in bounds if key in schema]
    return " ".join(words)


# --- the TOML file of a dataset -------------------------------------------------------------------------------------

TABLES = {
    "[source]": ("BundledSource", "UrlSource", "FileSource", "ObjectSource"),
    "[reading]": ("Reading",),
    "[reading.columns]": ("NumberForm",),
    "[checks]": ("Checks",),
    "[checks.columns]": ("ColumnCheck",),
    "[holdout]": ("Holdout",),
    "[gate]": ("Gate",),
    "[canary]": ("Canary",),
    "[drift]": ("DriftRules",),
}
"""Classes of the schema behind each table of the file."""


def write_dataset() -> str:
    """Every key of a dataset's TOML file, by its schema."""
    schema = make_schema()
    parts = [
        "# The TOML file of a dataset",
        "A file in `ml_code/catalog/` is a dataset. [The JSON schema](dataset.schema.json) is what editors read; "
        "`mlops dataset schema` prints it. A key without a default and not required means nothing if it is left out.",
        "## Keys at the top",
        _write_keys(schema, schema),
    ]
    for table, names in TABLES.items():
        parts.append(f"## {table}")
        for name in names:
            parts += [schema["$defs"][name]["description"], _write_keys(schema["$defs"][name], schema)]
    families = schema["properties"]["hyperparameters"]["properties"]
    parts += ["## [hyperparameters]", "One table for each family of models, such as `[hyperparameters.xgboost]`."]
    rows = [
        (code(family), code(key), allowed["description"])
        for family, part in families.items()
        for key, allowed in part["properties"].items()
    ]
    parts.append(write_table(["family", "key", "value"], rows))
    return "\n\n".join(parts) + "\n"


def _write_keys(part: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    rows = []
    for name, key in part["properties"].items():
        example = code(write_toml(key["examples"][0])) if "examples" in key else ""
        rows.append(
            (code(name), _describe_key(key, schema), _describe_default(name, key, part), key["description"], example)
        )
    return write_table(["key", "type", "default", "meaning", "example"], rows)


def _describe_key(key: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    resolved = resolve(key, schema)
    return "table" if "oneOf" in resolved or resolved.get("type") == "object" else describe_type(resolved)


def resolve(part: Any, schema: Mapping[str, Any]) -> Any:
    """A part of the schema without references."""
    if isinstance(part, list):
        return [resolve(entry, schema) for entry in part]
    if not isinstance(part, dict):
        return part
    found = schema["$defs"][part["$ref"].rpartition("/")[2]] if "$ref" in part else {}
    return {key: resolve(value, schema) for key, value in {**found, **part}.items() if key != "$ref"}


def _describe_default(name: str, key: Mapping[str, Any], part: Mapping[str, Any]) -> str:
    if name in part.get("required", []):
        return "required"
    return code(write_toml(key["default"])) if "default" in key else ""


def write_toml(value: Any) -> str:
    """A value as TOML writes it, on one line."""
    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{key} = {write_toml(entry)}" for key, entry in value.items()) + " }" if value else "{}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(write_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


# --- settings -------------------------------------------------------------------------------------------------------


def write_settings() -> str:
    """Every variable of `.env`, and those that the programs read in their containers."""
    parts = [
        "# Settings",
        "Variables of `.env`, which `make env` writes from `.env.example`. A value `insecure-…` is replaced by "
        "a random one.",
        *(f"## {title}\n\n{write_table(['variable', 'default', 'meaning'], rows)}" for title, rows in read_example()),
        "## Variables of the programs",
        "`docker-compose.yaml` sets them in the containers from those above. A program of your own may set them.",
    ]
    for owner, settings in (
        ("Training, gate, registry", Settings),
        ("A replica", ServingSettings),
        ("A rollout", RolloutSettings),
    ):
        parts += [f"### {owner}", write_table(["variable", "default", "meaning"], list_fields(settings))]
    return "\n\n".join(parts) + "\n"


def read_example() -> list[tuple[str, list[tuple[str, str, str]]]]:
    """The sections of `.env.example`: each variable, its default, and the comment above it."""
    sections: list[tuple[str, list[tuple[str, str, str]]]] = []
    comment: list[str] = []
    for line in (REPOSITORY / ".env.example").read_text().splitlines():
        if title := re.match(r"# --- (.+?) -*$", line):
            sections.append((title[1], []))
        elif line.startswith("#"):
            comment.append(line.removeprefix("#").strip())
            continue
        elif "=" in line and sections:
            name, _, value = line.partition("=")
            sections[-1][1].append((code(name), code(value), " ".join(comment)))
        comment = []
    return sections


def list_fields(settings: type[BaseSettings]) -> list[tuple[str, str, str]]:
    """The variables of a class of settings."""
    prefix = settings.model_config.get("env_prefix", "")
    return [
        (code(f"{prefix}{name}".upper()), _show_default(field.default), field.description or "")
        for name, field in settings.model_fields.items()
    ]


def _show_default(default: object) -> str:
    if default is PydanticUndefined:
        return "required"
    return "" if default is None else code(default)
