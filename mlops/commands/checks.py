"""`mlops smoke` and `mlops doctor`: checks of a stack's loop, and of this machine."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mlops.airflow_api import AirflowApi
from mlops.commands.output import AsJson, print_json
from mlops.endings import FAILURE, explained
from mlops.host import find_env_file, load_host_settings

if TYPE_CHECKING:
    from mlops.checks.findings import Finding
    from mlops.checks.smoke import Step

EnvFile = Annotated[
    Path | None,
    typer.Option("--env-file", help="Settings of the stack.", show_default="the stack that runs here"),
]

MARKS = {"ok": "[green]✓[/green]", "warning": "[yellow]![/yellow]", "failure": "[red]✗[/red]"}

commands = typer.Typer()


@commands.command()
def smoke(env_file: EnvFile = None, *, as_json: AsJson = False) -> None:
    """Try the loop of a running stack: train, gate, deploy, predict, check; the exit code is 1 if a step fails."""
    console = Console()
    with explained():
        from mlops.checks.smoke import Smoke, Target, describe, is_passed
        from mlops.local.state import read_airflow
        from serving.fleet.access import read_access
        from serving.registry.writer import MlflowRegistryWriter

        login = read_airflow(env_file or find_env_file())
        with closing(AirflowApi(login.url, login.username, login.password)) as api:
            settings = load_host_settings(env_file)
            password = settings.mlflow_password.get_secret_value()
            registry = MlflowRegistryWriter(settings.mlflow_url, settings.mlflow_username, password)
            trial = Smoke(Target(api, registry, settings.gateway_url, read_access(settings)))
            steps = trial.run(lambda step: None if as_json else _print_tick(console, step))
        if as_json:
            print_json([describe(step) for step in steps])
    if not is_passed(steps):
        raise typer.Exit(FAILURE)


@commands.command()
def doctor(env_file: EnvFile = None, *, as_json: AsJson = False) -> None:
    """List the problems of this machine with advice; the exit code is 1 if one prevents the stack from working.

    In a worker on another host than its stack it looks at what the worker needs of that stack.
    """
    with explained():
        from mlops.checks.findings import is_healthy

        findings = _examine(env_file)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        table = Table("", "subject", "found", "what to do")
        for finding in findings:
            table.add_row(MARKS[finding.state], finding.subject, finding.found, finding.advice)
        Console().print(table)
    if not is_healthy(findings):
        raise typer.Exit(FAILURE)


def _examine(env_file: Path | None) -> list[Finding]:
    from mlops.checks.doctor import examine
    from mlops.local.settings import check_checkout
    from mlops.worker import checks, settings

    if settings.is_elsewhere():
        return list(checks.examine(settings.read_place()))
    check_checkout()
    return examine(env_file or find_env_file())


def _print_tick(console: Console, step: Step) -> None:
    mark = MARKS["warning" if step.is_ok is None else "ok" if step.is_ok else "failure"]
    console.print(
        f" {mark}  {step.name:<8} {step.seconds:6.1f} s  {escape(step.found)}", highlight=False, soft_wrap=True
    )
