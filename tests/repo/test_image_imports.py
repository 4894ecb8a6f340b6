"""What the modules of a rollout import is installed in the image whose tasks run them."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.repo.repository import ROOT

OWN = frozenset({"ml_code", "serving", "mlops"})
IN_TASKS = ("serving/rollout", "serving/fleet", "serving/comparison", "serving/registry")


def list_modules() -> list[Path]:
    """The modules of a rollout, and those of `serving` and `ml_code` that they import, directly or through others."""
    waiting = [file for folder in IN_TASKS for file in (ROOT / folder).glob("*.py")]
    found: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.add(file)
        names = [name for name in list_imports(file) if name.partition(".")[0] in OWN]
        waiting += [path for name in names if (path := ROOT / f"{name.replace('.', '/')}.py").is_file()]
    return sorted(found)


def list_imports(file: Path) -> set[str]:
    """Dotted names of the modules that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@cache
def read_distributions() -> dict[str, set[str]]:
    """The distributions of each importable name, as requirements spell them."""
    found = packages_distributions().items()
    return {top: {name.lower().replace("_", "-") for name in names} for top, names in found}


@pytest.mark.parametrize("file", list_modules(), ids=lambda file: str(file.relative_to(ROOT)))
def test_a_module_of_a_rollout_imports_what_the_airflow_image_has(file: Path) -> None:
    pinned = set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / "docker/requirements/airflow.txt").read_text(), re.MULTILINE))
    tops = {name.partition(".")[0] for name in list_imports(file)} - OWN - sys.stdlib_module_names
    missing = {top for top in tops if not read_distributions()[top] & pinned}
    assert missing == set()
