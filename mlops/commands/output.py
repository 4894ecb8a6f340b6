"""Prints a command's rows: as a table that is readable at 80 columns, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def print_json(value: Any) -> None:
    """Prints JSON, not wrapped to the terminal's width."""
    print(json.dumps(value, ensure_ascii=False, indent=2))  # noqa: T201


def print_table(rows: Sequence[Mapping[str, str | None]], *, flexible: Sequence[str] = ()) -> None:
    """Prints rows under their keys.

    Args:
        rows: each with the same keys; None prints as a dash.
        flexible: columns that wrap on a narrow terminal; the others keep their width.
    """
    if not rows:
        Console().print("nothing yet")
        return
    table = Table(box=box.SIMPLE, pad_edge=False, show_edge=False)
    for name in rows[0]:
        table.add_column(name, no_wrap=name not in flexible, overflow="fold")
    for row in rows:
        table.add_row(*(value or "-" for value in row.values()))
    Console().print(table, highlight=False)
