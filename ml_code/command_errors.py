"""How a command of `mlops` ends that cannot do its work: one line on stderr, and an exit code that says why."""

from __future__ import annotations

from typing import NoReturn

import typer
from rich.console import Console

FAILURE = 1
"""An outside system refuses or is away: try again later, or look at it."""

USAGE_ERROR = 2
"""What was asked for cannot be: ask otherwise."""


def fail(error: Exception, code: int) -> NoReturn:
    """Prints the error and ends the command."""
    Console(stderr=True, soft_wrap=True).print(f"error: {error}", markup=False, highlight=False)
    raise typer.Exit(code) from error
