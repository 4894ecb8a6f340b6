"""The digest that ties the requirements files to pyproject.toml: `make lock` writes it, a test compares it offline.

>>> python docker/requirements/digest.py            # prints it
>>> python docker/requirements/digest.py --write    # writes it as the first line of every requirements file
"""

from __future__ import annotations

import hashlib
import json
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PYPROJECT = FOLDER.parents[1] / "pyproject.toml"
HEADER = "# dependencies-sha256: "


def compute_digest(pyproject: str) -> str:
    """Returns the sha256 of the tables that decide which packages are installed.

    Args:
        pyproject: Text of pyproject.toml. Comments, the order of tables and other tables have no effect.
    """
    tables = tomllib.loads(pyproject)
    uv = {key: value for key, value in tables["tool"]["uv"].items() if key != "build-backend"}
    deciding = {
        "requires-python": tables["project"]["requires-python"],
        "dependencies": tables["project"]["dependencies"],
        "dependency-groups": tables["dependency-groups"],
        "uv": uv,
    }
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()


def read_digest(requirements: Path) -> str | None:
    """Returns the digest in the first line of a requirements file, or None."""
    first, _, _ = requirements.read_text().partition("\n")
    return first.removeprefix(HEADER) if first.startswith(HEADER) else None


def write_digest(digest: str, files: Iterable[Path]) -> None:
    """Writes the digest as the first line of each file, and removes an old one."""
    for file in files:
        lines = [line for line in file.read_text().splitlines(keepends=True) if not line.startswith(HEADER)]
        file.write_text(f"{HEADER}{digest}\n" + "".join(lines))


if __name__ == "__main__":
    found = compute_digest(PYPROJECT.read_text())
    if sys.argv[1:] == ["--write"]:
        write_digest(found, sorted(FOLDER.glob("*.txt")))
    elif sys.argv[1:]:
        sys.exit(f"FAIL: arguments: expected none or --write, found {' '.join(sys.argv[1:])}")
    else:
        sys.stdout.write(f"{found}\n")
