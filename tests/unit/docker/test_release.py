"""The scripts around a release: its check, and the date of the lock."""

from __future__ import annotations

import importlib.util
import re
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest

BIN = Path(__file__).parents[3] / "docker/bin"
PYPROJECT = '[project]\nversion = "0.2.0"\n'
CHANGES = "# Changes\n\n## 0.2.0\n\n### Added\n- A thing.\n\n## 0.1.0\n\n- Another.\n"
NOW = datetime(2026, 12, 24, 15, 30, tzinfo=UTC)


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BIN / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_tag_with_its_version_and_its_changes_is_a_release() -> None:
    assert load("release").find_problem("v0.2.0", PYPROJECT, CHANGES) is None
    assert (
        load("release").find_problem("v0.2.0", PYPROJECT, CHANGES.replace("## 0.2.0", "## Unreleased\n\n## 0.2.0"))
        is None
    )


@pytest.mark.parametrize(
    ("tag", "changes", "problem"),
    [
        ("v0.2.1", CHANGES, r"tag: found v0\.2\.1, expected v0\.2\.0"),
        ("0.2.0", CHANGES, r"tag: found 0\.2\.0, expected v0\.2\.0"),
        ("v0.2.0", CHANGES.replace("0.2.0", "0.3.0"), r"found no changes under 0\.2\.0"),
        ("v0.2.0", "## 0.2.0\n\n## 0.1.0\n\n- Another.\n", r"found no changes under 0\.2\.0"),
        ("v0.2.0", f"## Unreleased\n\n- Late.\n\n{CHANGES}", "found changes under Unreleased"),
    ],
)
def test_what_is_not_a_release_is_named(tag: str, changes: str, problem: str) -> None:
    found = load("release").find_problem(tag, PYPROJECT, changes)
    assert found is not None
    assert re.search(problem, found), found


def test_the_date_of_the_lock_moves_to_a_week_ago() -> None:
    text = '[tool.uv]\nexclude-newer = "2026-11-18T00:00:00Z"\nother = 1\n'
    moved = load("newer").move_date(text, NOW)
    assert moved == text.replace("2026-11-18", "2026-12-17")


def test_the_date_of_the_lock_never_moves_back() -> None:
    text = 'exclude-newer = "2026-12-20T00:00:00Z"\n'
    assert load("newer").move_date(text, NOW) == text


def test_a_missing_date_is_named() -> None:
    with pytest.raises(ValueError, match="found no line exclude-newer"):
        load("newer").move_date("[tool.uv]\n", NOW)
