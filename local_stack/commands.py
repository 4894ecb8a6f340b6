"""The command `mlops` whole: what `serving` adds to it, and the stack without Docker."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from local_stack.airflow_api import AirflowApi, TaskState
from local_stack.demo import ROW, run_demo
from local_stack.doctor import examine
from local_stack.errors import LocalStackError
from local_stack.findings import is_healthy
from local_stack.interruption import INTERRUPTED, ended_like_ctrl_c, undisturbed
from local_stack.smoke import Smoke, Step, Target, describe, is_passed
from local_stack.stack import LocalStack
from local_stack.state import StateFolder, read_airflow
from ml_code.command_errors import FAILURE, fail
from ml_code.errors import MlopsError
from ml_code.settings import find_env_file, load_settings
from serving.commands import AsJson, app
from serving.registry.writer import MlflowAliases

__all__ = ["app"]

State = Annotated[
    Path | None, typer.Option("--state", help="Folder that keeps all of the stack.", show_default=".local")
]

EnvFile = Annotated[
    Path | None,
    typer.Option("--env-file", help="Settings of the stack.", show_default="those of the stack that runs here"),
]

NEXT = """\
Next:
  mlops dataset put iris ml_code/samples/iris_new_rows.csv   new rows: a new version is trained and serves by itself
  mlops dataset add FILE.csv --target COLUMN                 a table of your own
  mlops models                                               which version serves
"""

MARKS = {"ok": "[green]✓[/green]", "warning": "[yellow]![/yellow]", "failure": "[red]✗[/red]"}

local = typer.Typer(help="The same stack as plain processes, without Docker.", no_args_is_help=True)
app.add_typer(local, name="local")


@local.command()
def up(state: State = None) -> None:
    """Start what does not run, and wait until all of it is ready."""
    console = Console()
    with _explained():
        stack = LocalStack(_open(state))
        stack.up(lambda name, seconds: _print_step(console, name, "ready", seconds))
        _print_logins(console, stack)


@app.command()
def demo(
    state: State = None,
    stop: Annotated[
        bool, typer.Option("--exit", help="End the stack afterwards instead of waiting for Ctrl-C.")
    ] = False,
) -> None:
    """Run the whole loop on this machine without Docker: train, gate, deploy, predict."""
    console, stack, has_answered = Console(), LocalStack(_open(state)), False
    with ended_like_ctrl_c():
        try:
            with _explained():
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
    """Ends the processes, whether or not anybody is left to read about it."""
    with undisturbed():
        with suppress(OSError):
            console.print("Ending the processes")
        with _explained():
            stack.down()


@local.command()
def down(state: State = None) -> None:
    """End every process; data stays."""
    with _explained():
        LocalStack(_open(state)).down()


@local.command()
def reset(state: State = None, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """End every process and delete all data."""
    stack = LocalStack(_open(state))
    if not yes:
        typer.confirm(f"Delete {stack.state.path} with all runs, models and rows?", abort=True)
    with _explained():
        stack.reset()


@local.command()
def status(state: State = None) -> None:
    """Say what runs; the exit code is 1 if something does not."""
    console = Console()
    with _explained():
        stack = LocalStack(_open(state))
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
    program: Annotated[str, typer.Argument(help="One of `mlops local status`; all if it is not given.")] = "*",
    state: State = None,
) -> None:
    """Follow the logs, until Ctrl-C."""
    with _explained():
        folder = _open(state).logs
        files = sorted(str(file) for file in folder.glob(f"{program}.log"))
        if not files:
            raise LocalStackError(f"{program}: found no log in {folder}, expected a program of `mlops local status`")
    os.execvp("tail", ["tail", "-n", "20", "-F", *files])  # noqa: S606, S607  whatever tail this machine has


@app.command()
def smoke(env_file: EnvFile = None, *, as_json: AsJson = False) -> None:
    """Try the loop of a running stack: train, gate, deploy, predict, check; the exit code is 1 if a step fails."""
    console = Console()
    with _explained():
        with closing(AirflowApi(*read_airflow(env_file or find_env_file()))) as api:
            settings = load_settings(env_file)
            password = settings.mlflow_password.get_secret_value()
            aliases = MlflowAliases(settings.mlflow_url, settings.mlflow_username, password)
            trial = Smoke(Target(api, aliases, settings.gateway_url))
            steps = trial.run(lambda step: None if as_json else _print_tick(console, step))
        if as_json:
            print(json.dumps([describe(step) for step in steps], indent=2))  # noqa: T201  not wrapped
    if not is_passed(steps):
        raise typer.Exit(FAILURE)


@app.command()
def doctor(env_file: EnvFile = None, *, as_json: AsJson = False) -> None:
    """Say what is wrong on this machine, and what to do; the exit code is 1 if it keeps the stack from working."""
    with _explained():
        findings = examine(env_file or find_env_file())
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))  # noqa: T201  not wrapped
    else:
        table = Table("", "subject", "found", "what to do")
        for finding in findings:
            table.add_row(MARKS[finding.state], finding.subject, finding.found, finding.advice)
        Console().print(table)
    if not is_healthy(findings):
        raise typer.Exit(FAILURE)


def _open(folder: Path | None) -> StateFolder:
    return StateFolder(folder.resolve()) if folder else StateFolder()


def _print_step(console: Console, name: str, what: str, seconds: float) -> None:
    console.print(f"  {name:<44} {what:<24} {seconds:6.1f} s", highlight=False, soft_wrap=True)


def _print_task(console: Console, dag_id: str, task: TaskState) -> None:
    _print_step(console, f"{dag_id} {task.name.rpartition('.')[2]}", task.label or task.state or "", task.seconds)


def _print_tick(console: Console, step: Step) -> None:
    mark = MARKS["warning" if step.is_ok is None else "ok" if step.is_ok else "failure"]
    console.print(
        f" {mark}  {step.name:<8} {step.seconds:6.1f} s  {escape(step.found)}", highlight=False, soft_wrap=True
    )


def _print_logins(console: Console, stack: LocalStack) -> None:
    for login in stack.list_logins():
        console.print(f"  {login.name:<12} {login.url:<36} {login.user or ''} {login.password or ''}", soft_wrap=True)


@contextmanager
def _explained() -> Iterator[None]:
    """Ends the command with one line where something is wrong."""
    try:
        yield
    except (LocalStackError, MlopsError) as error:
        fail(error, FAILURE)
    except OSError as error:
        found = f"{error.strerror}: {error.filename}" if error.filename else str(error)
        fail(LocalStackError(f"local stack: expected to read and write its folder, found: {found}"), FAILURE)
