"""Which release a checkout or an image is of: its version, and digests of its code and of its catalog."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CATALOG = "ml_code/catalog"
PACKAGES = ("ml_code", "serving", "mlops")
DAGS = ("dags", "plugins")
PINS = "docker/requirements/airflow.txt"

SUFFIXES = frozenset({".py", ".sql", ".toml", ".csv"})
"""Files that tasks read; whatever else lies in these folders changes no task."""

DIGITS = 12

_TEXT = re.compile(r"(?P<version>[0-9A-Za-z.+]+)-(?P<code>[0-9a-f]{12})-(?P<catalog>[0-9a-f]{12})")


@dataclass(frozen=True, slots=True)
class Release:
    """A release: two are the same if a task does the same in both.

    >>> Release("0.1.0", "0123456789ab", "ba9876543210").text
    '0.1.0-0123456789ab-ba9876543210'
    """

    version: str
    code: str
    catalog: str

    @property
    def text(self) -> str:
        """As a setting holds it."""
        return f"{self.version}-{self.code}-{self.catalog}"

    def explain(self, other: Release) -> str:
        """In what another release differs, or an empty text."""
        if self == other:
            return ""
        if (self.version, self.code) == (other.version, other.code):
            return "another catalog of datasets"
        return "other code" if self.version == other.version else f"release {other.version}"


def parse_release(text: str) -> Release | None:
    """The release of a setting; None where it has another form."""
    found = _TEXT.fullmatch(text)
    return Release(**found.groupdict()) if found else None


def measure_release(root: Path, dags: Path) -> Release:
    """Reads the release of a checkout, or of a container.

    Args:
        root: the folder of pyproject.toml and of the packages.
        dags: the folder of `dags` and `plugins`.

    Raises:
        OSError: a file cannot be read.
    """
    catalog = _list_files(root, [CATALOG])
    code = {**_list_files(root, PACKAGES), **_list_files(dags, DAGS), PINS: root / PINS}
    version = str(tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"])
    return Release(version, _digest({name: code[name] for name in set(code) - set(catalog)}), _digest(catalog))


def _list_files(root: Path, folders: Iterable[str]) -> dict[str, Path]:
    found = (path for folder in folders for path in (root / folder).rglob("*") if path.suffix in SUFFIXES)
    return {str(path.relative_to(root)): path for path in found if path.is_file()}


def _digest(files: dict[str, Path]) -> str:
    """Of names and contents; a file that was moved is another one."""
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(f"{name}\0{hashlib.sha256(files[name].read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()[:DIGITS]
