"""The entry point: the table of the commands of `mlops`, each imported when it is called."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

COMMANDS = {
    "train": ("training", "Train a model, compare it with the champion in the gate, and register it if it passed."),
    "tune": ("training", "Search the best hyperparameters, train a model with them, and pass it to the gate."),
    "register": ("training", "Pass a model that was trained elsewhere to the gate, and register it if it passed."),
    "dataset": ("datasets", "The catalog, and the files that bring new rows."),
    "deploy": (
        "deploying",
        "Serve a version that passed the gate, and follow its rollout; the exit code is 1 if it is not served.",
    ),
    "predict": (
        "predicting",
        "Predict the rows of a table, or of a JSON text, through the gateway; prints the predictions as CSV.",
    ),
    "replay-request": ("replaying", "Answer a logged request again with any version; prints both answers as CSV."),
    "models": (
        "models",
        "List the models: the version that serves, the one before, and the newest that passed the gate.",
    ),
    "history": ("models", "List the promotions of a model, the newest first: when, who, which version and why."),
    "promote": ("promotion", "Serve a version even if the gate rejected it; the replicas follow within seconds."),
    "rollback": ("promotion", "Serve the version before again; the current one is never picked automatically again."),
    "freeze": ("promotion", "Stop every automatic promotion, until `mlops unfreeze`."),
    "unfreeze": ("promotion", "Allow automatic promotions again."),
    "feedback": (
        "feedback",
        "Show how many labels came, repeated, corrected or could not be used; or take back those of a token.",
    ),
    "status": ("status", "List the parts of the stack and whether they answer; the exit code is 1 if one does not."),
    "smoke": (
        "checks",
        "Try the loop of a running stack: train, gate, deploy, predict, check; the exit code is 1 if a step fails.",
    ),
    "doctor": (
        "checks",
        "List the problems of this machine with advice; the exit code is 1 if one prevents the stack from working.",
    ),
    "backup": (
        "backups",
        "Make a set of the databases, the objects and the settings, while the stack runs; old sets go.",
    ),
    "verify": (
        "backups",
        "Read every byte of a set, and restore its databases on trial; the exit code is 1 if the set is bad.",
    ),
    "restore": (
        "backups",
        "Put a set back into the stack of this machine, start it and try its loop; a killed one goes on when repeated.",
    ),
    "scale": ("scaling", "Change how many replicas answer."),
    "storage": ("storage", "The object store as a whole."),
    "version": (
        "version",
        "Show release, commit, images, migrations and libraries: those here, and those that the stack runs.",
    ),
    "upgrade": (
        "upgrading",
        "Take the stack to the version of its checkout while it answers, or back to the one before if a step fails.",
    ),
    "notebook": ("notebook", "Open the notebooks in JupyterLab, beside the stack of this machine; Ctrl-C ends it."),
    "worker": ("worker", "Workers on other hosts."),
    "users": ("users", "The people who sign in, in Airflow and MLflow at once."),
    "demo": ("stack", "Run the whole loop on this machine without Docker: train, gate, deploy, predict."),
    "local": ("stack", "The same stack as plain processes, without Docker."),
}
"""Module of each command in `mlops.commands`, and what `mlops --help` says of it."""


class Commands(TyperGroup):
    """Imports a command when it is called: all of them take longer than `--help` may."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands.update({name: TyperCommand(name, help=text) for name, (_, text) in COMMANDS.items()})

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Finds the command that the arguments call, with all of its options."""
        if args[0] in COMMANDS:
            self.commands[args[0]] = load_command(args[0])
        return super().resolve_command(ctx, args)


def load_command(name: str) -> Any:
    """Imports one of `COMMANDS`: a command of its module, or the whole module as a group."""
    group = typer.main.get_group(import_module(f"mlops.commands.{COMMANDS[name][0]}").commands)
    group.name = name
    return group.commands.get(name, group)


app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def configure(verbose: Annotated[bool, typer.Option("--verbose", help="Log each step.")] = False) -> None:
    """Trains, judges, serves and checks models; the same steps as the DAGs, from a shell."""
    from mlops.host import keep_loopback_direct  # noqa: PLC0415  `--help` needs none of it

    keep_loopback_direct()
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
