"""`mlops feedback`: the labels that a model's predictions got, and taking back what a token brought."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from mlops.commands.deploying import name_person
from mlops.commands.models import Model
from mlops.commands.output import AsJson, print_json, print_table
from mlops.commands.predicting import refuse_stranger
from mlops.endings import explained
from mlops.host import load_host_settings

if TYPE_CHECKING:
    from ml_code.workspace import Workspace

NO_ROW = ""
"""Labels of no known row are counted under this name, since their model is not known."""

commands = typer.Typer()


@commands.command()
def feedback(
    model: Model,
    *,
    drop_token: Annotated[str, typer.Option(help="Do not count the labels that this token brought.")] = "",
    restore_token: Annotated[str, typer.Option(help="Count the labels of a dropped token again.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a token is dropped.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how many labels came, repeated, corrected or could not be used; or take back those of a token."""
    if drop_token and restore_token:
        raise typer.BadParameter("expected --drop-token or --restore-token, found both")
    with explained():
        from ml_code.workspace import open_workspace

        settings = load_host_settings()
        refuse_stranger(model, settings.catalog_dir)
        workspace = open_workspace(settings)
        if drop_token or restore_token:
            _move_token(workspace, model, drop_token, restore_token, yes=yes)
        else:
            _show_counts(workspace, model, as_json=as_json)


def _move_token(workspace: Workspace, model: str, dropped: str, restored: str, *, yes: bool) -> None:
    from ml_code.monitoring.feedback.tokens import record_token

    token = (dropped or restored).lower()  # the gateway knows names in lower case
    if dropped and not yes:
        typer.confirm(f"{model}: no label that {token} brought until now counts any more?", abort=True)
    record_token(workspace, model, token, "drop" if dropped else "restore", name_person(workspace.settings))
    undo = f"; undo it with --restore-token {token}" if dropped else ""
    Console().print(f"{model}: {'dropped' if dropped else 'restored'} the labels of {token}{undo}", markup=False)


def _show_counts(workspace: Workspace, model: str, *, as_json: bool) -> None:
    from ml_code.data.dropped import read_dropped
    from ml_code.monitoring.feedback.counts import read_counts

    counts = {name: asdict(read_counts(workspace, of)) for name, of in ((model, model), ("no known row", NO_ROW))}
    dropped = {token: until.isoformat() for token, until in sorted(read_dropped(workspace, model).items())}
    if as_json:
        print_json({"counts": counts, "dropped_tokens": dropped})
        return
    print_table([{"of": name} | {kind: str(n) for kind, n in found.items()} for name, found in counts.items()])
    for token, until in dropped.items():
        Console().print(f"dropped: labels of {token} until {until}", markup=False, highlight=False)
