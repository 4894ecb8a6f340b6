"""Checks that a tag, the version of pyproject.toml and CHANGELOG.md name the same release: `make release-check`.

>>> python3 docker/bin/release.py v0.2.0
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def find_problem(tag: str, pyproject: str, changes: str) -> str | None:
    """Returns what keeps a tag from being a release, or None.

    Args:
        tag: such as v0.2.0.
        pyproject: text of pyproject.toml.
        changes: text of CHANGELOG.md.
    """
    version = tomllib.loads(pyproject)["project"]["version"]
    if tag != f"v{version}":
        return f"tag: found {tag}, expected v{version}, the version of pyproject.toml; correct one of them"
    sections = re.split(r"^## (\S+).*$", changes, flags=re.MULTILINE)[1:]
    notes = dict(zip(sections[::2], sections[1::2], strict=True))
    if notes.get("Unreleased", "").strip():
        return f"CHANGELOG.md: found changes under Unreleased, expected them under {version}; rename the heading"
    if not notes.get(version, "").strip():
        return f"CHANGELOG.md: found no changes under {version}, expected what changed for users; write the section"
    return None


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"FAIL: arguments: found {len(sys.argv) - 1}, expected the tag; make release-check TAG=v0.2.0")
    problem = find_problem(sys.argv[1], (ROOT / "pyproject.toml").read_text(), (ROOT / "CHANGELOG.md").read_text())
    if problem:
        sys.exit(f"FAIL: {problem}")
