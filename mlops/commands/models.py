"""`mlops models`, `history`: the registered versions, and who promoted which."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ml_code.datasets import load_catalog
from ml_code.settings import Settings
from mlops.commands.deploying import name_program
from mlops.commands.output import AsJson, print_json, print_table
from mlops.commands.predicting import refuse_stranger
from mlops.endings import explained
from mlops.host import load_host_settings
from serving.registry.names import CHAMPION, PREVIOUS

if TYPE_CHECKING:
    from serving.rollout.control import RolloutControl
    from serving.rollout.promotion_log import Move

Model = Annotated[str, typer.Argument(help="Registered model; `mlops models` lists them.")]

commands = typer.Typer()


@commands.command()
def models(*, as_json: AsJson = False) -> None:
    """List the models: the version that serves, the one before, and the newest that passed the gate."""
    with explained():
        settings = load_host_settings()
        control = open_control(settings)
        rows = [_describe_model(control, name) for name in load_catalog(settings.catalog_dir).list_models()]
    if as_json:
        print_json(rows)
        return
    print_table([{name: row[name] for name in row if name != "frozen"} for row in rows], flexible=["under way"])
    for row in rows:
        if row["frozen"]:
            Console().print(f"{row['model']} is frozen by {escape(row['frozen'])}", highlight=False)


@commands.command()
def history(model: Model, *, as_json: AsJson = False) -> None:
    """List the promotions of a model, the newest first: when, who, which version and why."""
    with explained():
        settings = load_host_settings()
        refuse_stranger(model, settings.catalog_dir)
        moves = open_control(settings).log.list_moves(model)
    if as_json:
        print_json([asdict(move) | {"moved_at": f"{move.moved_at:%Y-%m-%d %H:%M:%S%z}"} for move in moves])
    else:
        print_table([_describe_move(move) for move in moves], flexible=["who", "why"])


def open_control(settings: Settings) -> RolloutControl:
    """Connects to the registry and the tables of rollouts, as this program."""
    from serving.rollout.control import connect_registry

    return connect_registry(settings, name_program())


def _describe_model(control: RolloutControl, name: str) -> dict[str, str | None]:
    found, frozen = control.registry.read(name), control.log.find_freeze(name)
    active = control.rows.find_active(name)
    return {
        "model": name,
        "champion": found.get(CHAMPION),
        "previous": found.get(PREVIOUS),
        "newest passed": control.find_newest_passed(name),
        "under way": f"{active.state}: version {active.to_version}" if active else None,
        "frozen": f"{frozen.who}: {frozen.why}" if frozen else None,
    }


def _describe_move(move: Move) -> dict[str, str | None]:
    versions = f"{move.from_version or '-'} -> {move.to_version}" if move.to_version else None
    when = f"{move.moved_at.astimezone():%Y-%m-%d %H:%M}"
    return {"when": when, "action": move.action, "version": versions, "who": move.who, "why": move.why}
