"""The entry point: the groups of commands of `mlops`."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from mlops.commands import (
    backups,
    checks,
    datasets,
    deploying,
    feedback,
    models,
    notebook,
    predicting,
    replaying,
    scaling,
    stack,
    status,
    storage,
    training,
    upgrading,
    users,
    version,
)
from mlops.host import keep_loopback_direct

app = typer.Typer(
    help="Trains, judges, serves and checks models; the same steps as the DAGs, from a shell.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(training.commands)
app.add_typer(datasets.commands, name="dataset")
app.add_typer(deploying.commands)
app.add_typer(predicting.commands)
app.add_typer(replaying.commands)
app.add_typer(models.commands)
app.add_typer(feedback.commands)
app.add_typer(status.commands)
app.add_typer(checks.commands)
app.add_typer(backups.commands)
app.add_typer(scaling.commands, name="scale")
app.add_typer(storage.commands, name="storage")
app.add_typer(version.commands)
app.add_typer(upgrading.commands)
app.add_typer(notebook.commands)
app.add_typer(users.commands, name="users")
app.add_typer(stack.commands)
app.add_typer(stack.local, name="local")


@app.callback()
def configure(verbose: Annotated[bool, typer.Option("--verbose", help="Log each step.")] = False) -> None:
    """Trains, judges, serves and checks models; the same steps as the DAGs, from a shell."""
    keep_loopback_direct()
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
