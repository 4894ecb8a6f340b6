"""`mlops scale`: the number of replicas of the compose project on this machine, by hand or by the load."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from mlops.commands.checks import EnvFile
from mlops.endings import USAGE_ERROR, explained, fail
from mlops.errors import ScalingError
from mlops.host import find_env_file, load_stack_settings
from mlops.local.interruption import ended_like_ctrl_c, postponed

if TYPE_CHECKING:
    from mlops.scaling.pool import Pool

LEAST = 2

commands = typer.Typer(help="Change how many replicas answer.", no_args_is_help=True)


@commands.callback()
def scale() -> None:
    """Change how many replicas answer."""


@commands.command()
def serving(
    replicas: Annotated[int | None, typer.Argument(min=1, help="The number that shall run.")] = None,
    env_file: EnvFile = None,
    *,
    by_load: Annotated[bool, typer.Option("--auto", help="Follow the load, until the stack is stopped.")] = False,
    least: Annotated[int, typer.Option("--min", min=1, help="Fewest replicas with --auto.")] = LEAST,
    most: Annotated[
        int | None, typer.Option("--max", min=1, help="Most with --auto.", show_default="the machine's cores")
    ] = None,
) -> None:
    """Start or end replicas, and nothing else; `make up` keeps the number."""
    if by_load == (replicas is not None):
        fail(ScalingError("scale: expected a number of replicas or --auto, found " + _name(replicas)), USAGE_ERROR)
    if by_load and most is not None and least > most:
        fail(ScalingError(f"scale: expected --min up to --max, found {least} and {most}"), USAGE_ERROR)
    with explained():
        from mlops.compose import claim
        from mlops.scaling.pool import Pool

        pool = Pool(find_compose_file(env_file))
        with claim(pool.folder):
            if replicas is not None:
                _scale_once(pool, replicas)
            else:
                _follow_load(pool, least, most)


def find_compose_file(env_file: Path | None) -> Path:
    """The settings of the compose project.

    Raises:
        ScalingError: they are missing, or the stack runs without Docker.
    """
    found = env_file or find_env_file()
    if not found.is_file() or not (found.parent / "docker-compose.yaml").is_file():
        raise ScalingError(
            f"settings: expected the .env of a compose project, found {found}; the stack without Docker has one "
            "replica. In a checkout, `make up` starts the project"
        )
    return found


def _scale_once(pool: Pool, replicas: int) -> None:
    from mlops.scaling.autoscaler import check_most

    began, before, reading = time.monotonic(), pool.count(), pool.read()
    check_most(replicas, before, reading.room, "scale", by_cores=False)
    console = Console()
    # Both the replicas and the number in the settings, or neither.
    with postponed():
        pool.scale(replicas, wait=True)
        console.print(f"{before} -> {replicas} replicas in {time.monotonic() - began:.0f} s", highlight=False)
    if replicas > reading.cores:
        console.print(f"The machine has {reading.cores} cores: more replicas than that compute no faster.")


def _follow_load(pool: Pool, least: int, most: int | None) -> None:
    from ml_code.workspace import open_workspace
    from mlops.scaling.analyses import find_analysis
    from mlops.scaling.autoscaler import Autoscaler, check_most
    from mlops.scaling.decision import Limits

    console, reading = Console(), pool.read()
    if most is None:
        most = max(least, reading.cores)
    check_most(most, pool.count(), reading.room, "--max", by_cores=True)
    warehouse = open_workspace(load_stack_settings(pool.env_file)).warehouse

    def say(line: str) -> None:
        console.print(f"{time.strftime('%H:%M:%S')} {line}", highlight=False, markup=False, soft_wrap=True)

    say(f"{pool.count()} replicas run; from {least} to {most} by their load")
    try:
        with ended_like_ctrl_c():
            Autoscaler(pool, Limits(least, most), lambda: find_analysis(warehouse), say).run()
    except KeyboardInterrupt:
        say(f"ended; {pool.count()} replicas stay")


def _name(replicas: int | None) -> str:
    return "neither; `mlops scale serving 4`, or `mlops scale serving --auto`" if replicas is None else "both"
