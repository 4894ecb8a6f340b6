"""Rules of the documents: their commands and links exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.repo.repository import ROOT, find_files, list_make_targets

DOCUMENTS = find_files("*.md", "docs/**/*.md")


def read_code(document: Path) -> str:
    """The code blocks and code spans of a document."""
    text = document.read_text()
    return "\n".join(re.findall(r"```(?:\w*)\n(.*?)```", text, flags=re.DOTALL) + re.findall(r"`([^`\n]+)`", text))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.stem)
def test_a_make_command_exists(document: Path) -> None:
    named = set(re.findall(r"^(?:\s*)make ([a-z][a-z0-9-]*)", read_code(document), flags=re.MULTILINE))
    assert named - list_make_targets() == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.stem)
def test_a_link_within_the_repository_has_a_target(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", document.read_text())
    missing = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert missing == []


def test_the_readme_has_the_two_commands() -> None:
    code = read_code(ROOT / "README.md")
    assert re.search(r"^make up\b", code, flags=re.MULTILINE)
    assert re.search(r"^make test\b", code, flags=re.MULTILINE)


def test_ci_runs_the_readmes_test_command() -> None:
    assert "make test" in (ROOT / ".ci/run").read_text().splitlines()


def test_every_make_target_is_explained_and_phony() -> None:
    text = (ROOT / "Makefile").read_text()
    explained = set(re.findall(r"^([a-z0-9-]+):[^=\n]*## ", text, flags=re.MULTILINE))
    phony = set(" ".join(re.findall(r"^\.PHONY: (.*)$", text, flags=re.MULTILINE)).split())
    assert explained == list_make_targets() == phony
