"""`mlops demo` and `mlops local`: the stack without Docker."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from mlops.airflow_api import TaskState
from mlops.endings import FAILURE, explained
from mlops.errors import LocalStackError
from mlops.local.interruption import INTERRUPTED, ended_like_ctrl_c, undisturbed
from mlops.loop import ROW

if TYPE_CHECKING:
    from mlops.local.stack import LocalStack

State = Annotated[Path | None, typer.Option("--state", help="Folder of the whole stack.", show_default=".local")]

NEXT = """\
Next:
  mlops dataset put iris ml_code/samples/iris_new_rows.csv   new rows, on which a new version is trained and served
  mlops dataset add FILE.csv --target COLUMN                 your own table
  mlops models                                               the version that serves
"""

commands = typer.Typer()
local = typer.Typer(help="The same stack as plain processes, without Docker.", no_args_is_help=True)
commands.add_typer(local, name="local")


@local.command()
def up(state: State = None) -> None:
    """Start the missing processes, and wait until all are ready."""
    console = Console()
    with explained():
        stack = _open(state)
        stack.up(lambda name, seconds: _print_step(console, name, "ready", seconds))
        _print_logins(console, stack)


@commands.command()
def demo(
    state: State = None,
    stop: Annotated[
        bool, typer.Option("--exit", help="End the stack afterwards instead of waiting for Ctrl-C.")
    ] = False,
) -> None:
    """Run the whole loop on this machine without Docker: train, gate, deploy, predict."""
    console, has_answered = Console(), False
    with explained():
        stack = _open(state)
    with ended_like_ctrl_c():
        try:
            with explained():
                _run_loop(console, stack)
                has_answered = True
                if not stop and stack.is_started_here:
                    console.print("Ctrl-C ends it; data stays.")
                    stack.wait()
        except KeyboardInterrupt:
            if not has_answered:
                raise typer.Exit(INTERRUPTED) from None
        finally:
            if stack.is_started_here:
                _end(console, stack)
            elif has_answered:
                console.print("It ran before and keeps running; `mlops local down` ends it.")


def _run_loop(console: Console, stack: LocalStack) -> None:
    from mlops.local.demo import run_demo

    started = time.monotonic()
    console.print("Starting the stack")
    stack.up(lambda name, seconds: _print_step(console, name, "ready", seconds), with_parent=True)
    console.print("Running the loop: train, gate, deploy")
    prediction = run_demo(stack, lambda dag_id, task: _print_task(console, dag_id, task))
    command = f"curl -X POST {prediction.url}/predict -H 'Content-Type: application/json' -d '{ROW}'"
    console.print(f"\n{command}", soft_wrap=True)
    console.print_json(data=prediction.body)
    console.print(f"version {prediction.version} answered {time.monotonic() - started:.0f} s after the start\n")
    _print_logins(console, stack)
    console.print(NEXT, highlight=False, soft_wrap=True)


def _end(console: Console, stack: LocalStack) -> None:
    """Ends the processes, even if the terminal is gone."""
    with undisturbed():
        with suppress(OSError):
            console.print("Ending the processes")
        with explained():
            stack.down()


@local.command()
def down(state: State = None) -> None:
    """End every process; data stays."""
    with explained():
        _open(state).down()


@local.command()
def reset(
    state: State = None, yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False
) -> None:
    """End every process and delete all data."""
    with explained():
        stack = _open(state)
    if not yes:
        typer.confirm(f"Delete {stack.state.path} with all runs, models and rows?", abort=True)
    with explained():
        stack.reset()


@local.command()
def status(state: State = None) -> None:
    """List the programs; the exit code is 1 if one does not run."""
    console = Console()
    with explained():
        stack = _open(state)
        programs = stack.list_states()
        if not programs:
            console.print("nothing runs; `mlops local up` starts it")
            raise typer.Exit(FAILURE)
        table = Table("program", "state", "pid", "for")
        for program in programs:
            table.add_row(program.name, program.state.lower(), str(program.process_id or "-"), f"{program.seconds} s")
        console.print(table)
        _print_logins(console, stack)
    if any(program.state != "RUNNING" for program in programs):
        raise typer.Exit(FAILURE)


@local.command()
def logs(
    program: Annotated[str, typer.Argument(help="A program of `mlops local status`; all if omitted.")] = "*",
    state: State = None,
) -> None:
    """Follow the logs, until Ctrl-C."""
    with explained():
        folder = _open(state).state.logs
        files = sorted(str(file) for file in folder.glob(f"{program}.log"))
        if not files:
            raise LocalStackError(f"{program}: found no log in {folder}, expected a program of `mlops local status`")
    os.execvp("tail", ["tail", "-n", "20", "-F", *files])  # noqa: S606, S607  the `tail` of this machine


def _open(folder: Path | None) -> LocalStack:
    """Opens the stack of a state folder; its programs are those of a checkout of the repository.

    Raises:
        StateFolderError: this is not a checkout, or the folder cannot be used.
    """
    from mlops.local.settings import check_checkout
    from mlops.local.stack import LocalStack
    from mlops.local.state import StateFolder

    check_checkout()
    return LocalStack(StateFolder(folder.resolve()) if folder else StateFolder())


def _print_step(console: Console, name: str, what: str, seconds: float) -> None:
    console.print(f"  {name:<44} {what:<24} {seconds:6.1f} s", highlight=False, soft_wrap=True)


def _print_task(console: Console, dag_id: str, task: TaskState) -> None:
    _print_step(console, f"{dag_id} {task.name.rpartition('.')[2]}", task.label or task.state or "", task.seconds)


def _print_logins(console: Console, stack: LocalStack) -> None:
    for login in stack.list_logins():
        console.print(f"  {login.name:<12} {login.url:<36} {login.user or ''} {login.password or ''}", soft_wrap=True)
