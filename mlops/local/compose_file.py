"""Reads a service's environment from docker-compose.yaml, so that both stacks have the same settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from mlops.errors import StateFolderError

_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def read_environment(file: Path, service: str, settings: Mapping[str, str]) -> dict[str, str]:
    """Reads a service's `environment` with the settings filled in.

    >>> read_environment(Path("docker-compose.yaml"), "serving", {...})["SERVING_POOL"]
    'stable'

    Raises:
        StateFolderError: a required setting is missing.
    """
    described = yaml.safe_load(file.read_text())["services"][service].get("environment", {})
    return {name: _fill_in(str(value), settings) for name, value in described.items()}


def move_to(environment: Mapping[str, str], addresses: Mapping[str, str]) -> dict[str, str]:
    """Replaces the addresses of the compose project by others.

    >>> move_to({"URL": "http://mlflow:5000"}, {"mlflow:5000": "127.0.0.1:41000"})
    {'URL': 'http://127.0.0.1:41000'}
    """
    moved = dict(environment)
    for inside, outside in addresses.items():
        moved = {name: value.replace(inside, outside) for name, value in moved.items()}
    return moved


def _fill_in(text: str, settings: Mapping[str, str]) -> str:
    def replace(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        if found := settings.get(name):
            return found
        if kind == "?":
            raise StateFolderError(f"{name}: expected a value, found none; `mlops local reset` makes new settings")
        return rest or ""

    return _VARIABLE.sub(replace, text)
