"""A table of people, written in different ways."""

from __future__ import annotations

from pathlib import Path

ROWS = [(20 + n % 45, 100 + n * 7 % 90, n % 3 == 0) for n in range(120)]
"""Age, income, whether the person joined."""


def write(folder: Path, lines: list[str], encoding: str = "utf-8", name: str = "people.csv") -> Path:
    file = folder / name
    file.write_bytes("\n".join([*lines, ""]).encode(encoding))
    return file


def plain(header: str = "age,income,joined", row: str = "{0},{1},{2}") -> list[str]:
    return [header, *(row.format(age, income, "yes" if joined else "no") for age, income, joined in ROWS)]
