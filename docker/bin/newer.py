"""Moves `exclude-newer` of pyproject.toml to a week ago, for `make update`: no package is younger than that.

>>> python3 docker/bin/newer.py
"""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
LINE = re.compile(r'^exclude-newer = "([^"]+)"$', re.MULTILINE)
AGE = timedelta(days=7)
"""A bad release is mostly withdrawn within days."""


def move_date(text: str, now: datetime) -> str:
    """Returns pyproject.toml with the newer of its date and a week before now.

    Raises:
        ValueError: it has no such line.
    """
    found = LINE.search(text)
    if found is None:
        raise ValueError(f"{PYPROJECT.name}: found no line exclude-newer, expected one; add it to [tool.uv]")
    date = max(datetime.fromisoformat(found[1]), (now - AGE).replace(hour=0, minute=0, second=0, microsecond=0))
    return LINE.sub(f'exclude-newer = "{date:%Y-%m-%dT%H:%M:%SZ}"', text)


if __name__ == "__main__":
    before = PYPROJECT.read_text(encoding="utf-8")
    try:
        PYPROJECT.write_text(move_date(before, datetime.now(UTC)), encoding="utf-8")
    except ValueError as error:
        sys.exit(f"FAIL: {error}")
