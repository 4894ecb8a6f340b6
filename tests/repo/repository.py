"""The repository's own files as texts: no network, and no import of the checked code."""

from __future__ import annotations

import ast
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CELERY_FILE = "docker/celery/compose.yaml"
OBSERVABILITY_FILE = "docker/observability/compose.yaml"

REPLACED = {"command", "entrypoint", "test"}
"""Lists that Compose replaces; to others it appends."""


@cache
def list_files() -> tuple[Path, ...]:
    """Every file that is committed or not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return tuple(ROOT / name for name in sorted(names.split("\0")) if name and (ROOT / name).is_file())


def find_files(*patterns: str) -> list[Path]:
    """Files whose path from the root matches one of the glob patterns."""
    return [file for file in list_files() if any(_matches(file, pattern) for pattern in patterns)]


def read_compose() -> dict[str, Any]:
    """docker-compose.yaml with merged anchors and literal variables."""
    compose: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
    return compose


def list_services() -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = read_compose()["services"]
    return services


def list_celery_services() -> dict[str, dict[str, Any]]:
    """The services of `make up PROFILE=celery`, merged as Compose does; tests/e2e compares this with Compose itself."""
    return list_profile_services(CELERY_FILE)


def list_profile_services(file: str) -> dict[str, dict[str, Any]]:
    """The services of the stack with the file of a profile."""
    main = list_services()
    changes: dict[str, Any] = yaml.load((ROOT / file).read_text(), _Loader)["services"]
    services = {}
    for name in [*main, *(name for name in changes if name not in main)]:
        change = dict(changes.get(name, {}))
        extended = change.pop("extends", {}).get("service", name)
        services[name] = _merge(main.get(extended, {}), change)
    return services


def list_make_targets() -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def list_imports(file: Path) -> set[str]:
    """Full names of the modules that a Python file imports."""
    tree = ast.parse(file.read_text())
    nodes = list(ast.walk(tree))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


def _matches(file: Path, pattern: str) -> bool:
    """Whether a path matches a glob; `**/` stands for any folders or none."""
    expression = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
    return re.fullmatch(expression, file.relative_to(ROOT).as_posix()) is not None


class _Loader(yaml.SafeLoader):
    """Knows the two tags of Compose."""


@dataclass(frozen=True)
class _Override:
    """A value that replaces the one of the file before; None removes it."""

    value: Any


def _read_override(loader: yaml.SafeLoader, node: yaml.Node) -> _Override:
    if isinstance(node, yaml.MappingNode):
        return _Override(loader.construct_mapping(node, deep=True))
    return _Override(loader.construct_sequence(node, deep=True))  # type: ignore[arg-type]


_Loader.add_constructor("!override", _read_override)
_Loader.add_constructor("!reset", lambda _loader, _node: _Override(None))


def _merge(before: Any, change: Any, key: str = "") -> Any:
    if isinstance(change, _Override):
        return change.value
    if isinstance(before, dict) and isinstance(change, dict):
        merged = before | {name: _merge(before.get(name), value, name) for name, value in change.items()}
        return {name: value for name, value in merged.items() if value is not None}
    if isinstance(before, list) and isinstance(change, list) and key not in REPLACED:
        return before + [value for value in change if value not in before]
    return change
