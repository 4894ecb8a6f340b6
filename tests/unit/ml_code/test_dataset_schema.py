"""The schema that editors use, beside the classes that read the file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel, ValidationError

from ml_code.dataset_schema import make_schema
from ml_code.datasets import CATALOG, Dataset

SCHEMA = make_schema()
IRIS = (CATALOG / "iris.toml").read_text()


def list_keys(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every key of every table, those of hyperparameters apart."""
    for table, part in {"": schema, **schema["$defs"]}.items():
        for key, described in part.get("properties", {}).items():
            yield f"{table}.{key}", described


def is_valid(text: str) -> bool:
    return jsonschema.Draft202012Validator(SCHEMA).is_valid(tomllib.loads(text))


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_every_key_has_a_description_and_an_example_that_is_valid() -> None:
    keys = dict(list_keys(SCHEMA))
    assert len(keys) > 50
    for name, described in keys.items():
        assert described["description"], name
        if "const" not in described:
            value = described["examples"][0]
            jsonschema.Draft202012Validator({**described, "$defs": SCHEMA["$defs"]}).validate(value)


def test_a_key_that_may_be_left_out_has_its_default() -> None:
    keys = dict(list_keys(SCHEMA))
    assert keys["Reading.separator"]["default"] == ","
    assert keys["Gate.largest_regression"]["default"] == 0.02
    assert keys[".numeric"]["default"] == []
    assert "default" not in keys[".key"]
    assert "default" not in keys[".target"]


def test_it_has_no_value_that_toml_lacks() -> None:
    assert "null" not in str(SCHEMA)
    assert "None" not in str(SCHEMA)


@pytest.mark.parametrize("file", sorted(CATALOG.glob("*.toml")), ids=lambda file: file.stem)
def test_a_shipped_dataset_is_valid(file: Any) -> None:
    assert is_valid(file.read_text())


@pytest.mark.parametrize(
    ("correct", "wrong"),
    [
        ('task = "classification"', 'task = "guessing"'),
        ('target = "species"\n', ""),
        ("threshold = 0.85", "treshold = 0.85"),
        ("share = 0.34", "share = 1.0"),
        ('loader = "iris"', 'loader = "iris"\nurl = "https://example.org/a.csv"'),
        ("[gate]", "[hyperparameters.random_forest]\nn_estimators = 0\n[gate]"),
        ("[gate]", "[hyperparameters.forest]\n[gate]"),
        ("[gate]", "[canary]\nwindow_seconds = -1\n[gate]"),
        ("[gate]", '[reading]\nseparator = "-"\n[gate]'),
    ],
)
def test_it_refuses_what_the_reader_refuses(correct: str, wrong: str) -> None:
    assert correct in IRIS
    text = IRIS.replace(correct, wrong, 1)
    with pytest.raises(ValidationError):
        Dataset.model_validate(tomllib.loads(text))
    assert is_valid(IRIS)
    assert not is_valid(text)


def test_it_has_every_table_of_the_file() -> None:
    fields = {name for name, field in Dataset.model_fields.items() if field.annotation and is_table(field.annotation)}
    assert {"reading", "checks", "holdout", "gate", "canary", "drift"} == fields
    assert fields < set(SCHEMA["properties"])


def is_table(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
