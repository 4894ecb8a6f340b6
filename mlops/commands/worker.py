"""`mlops worker`: workers of this stack on other hosts."""

from __future__ import annotations

from typing import Annotated

import typer

from mlops.commands.checks import EnvFile
from mlops.commands.scaling import find_compose_file
from mlops.endings import explained

commands = typer.Typer(help="Workers on other hosts.", no_args_is_help=True)


@commands.callback()
def worker() -> None:
    """Workers on other hosts."""


@commands.command()
def env(
    host: Annotated[
        str | None,
        typer.Option("--host", help="Where the worker reaches this host.", show_default="WORKERS_ADDRESS of .env"),
    ] = None,
    env_file: EnvFile = None,
) -> None:
    """Print the settings that a worker on another host needs, with their passwords, and nothing else."""
    with explained():
        from ml_code.tracking.provenance import find_git_commit
        from mlops.host import load_stack_settings, read_env_file
        from mlops.worker.env_file import format_settings, list_settings
        from mlops.worker.release import measure_release

        file = find_compose_file(env_file).resolve()
        release, commit = measure_release(file.parent, file.parent), find_git_commit(load_stack_settings(file))
        text = format_settings(list_settings(read_env_file(file, interpolate=True), host, release, commit))
    typer.echo(text)
