"""`mlops models`, `history`, `promote`, `rollback`, `freeze`, `unfreeze`: the registered versions."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

from ml_code.datasets import load_catalog
from ml_code.settings import Settings
from mlops.commands.deploying import name_person, name_program
from mlops.commands.output import AsJson, print_json, print_table
from mlops.commands.predicting import refuse_stranger
from mlops.endings import explained
from mlops.host import load_host_settings
from serving.registry.names import CHAMPION, PREVIOUS

if TYPE_CHECKING:
    from serving.rollout.control import RolloutControl
    from serving.rollout.promotion_log import Move

Model = Annotated[str, typer.Argument(help="Registered model; `mlops models` lists them.")]
Reason = Annotated[str, typer.Option(prompt="Why", help="Reason for the log; you are prompted for a missing one.")]

commands = typer.Typer()


@commands.command()
def models(*, as_json: AsJson = False) -> None:
    """List the models: the version that serves, the one before, and the newest that passed the gate."""
    with explained():
        settings = load_host_settings()
        control = _connect(settings)
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
        moves = _connect(settings).log.list_moves(model)
    if as_json:
        print_json([asdict(move) | {"moved_at": f"{move.moved_at:%Y-%m-%d %H:%M:%S%z}"} for move in moves])
    else:
        print_table([_describe_move(move) for move in moves], flexible=["who", "why"])


@commands.command("promote")
def promote_version(
    model: Model, version: Annotated[str, typer.Argument(help="Version of the model, such as 7.")], why: Reason
) -> None:
    """Serve a version even if the gate rejected it; the replicas follow within seconds."""
    with explained():
        from serving.rollout.rollback import promote_by_hand

        settings = load_host_settings()
        refuse_stranger(model, settings.catalog_dir)
        rollout = promote_by_hand(_sign_in(settings), model, version, why)
    Console().print(f"{model}: champion {rollout.from_version or 'none'} -> {version}", highlight=False)


@commands.command()
def rollback(model: Model, why: Reason) -> None:
    """Serve the version before again; the current one is never picked automatically again."""
    with explained():
        from serving.rollout.rollback import roll_back

        settings = load_host_settings()
        refuse_stranger(model, settings.catalog_dir)
        rollout = roll_back(_sign_in(settings), model, why)
    Console().print(f"{model}: champion {rollout.from_version} -> {rollout.to_version}", highlight=False)


@commands.command()
def freeze(model: Model, why: Reason) -> None:
    """Stop every automatic promotion, until `mlops unfreeze`."""
    _record(model, "freeze", why)


@commands.command()
def unfreeze(model: Model, why: Reason) -> None:
    """Allow automatic promotions again."""
    _record(model, "unfreeze", why)


def _connect(settings: Settings) -> RolloutControl:
    from serving.rollout.control import connect_registry

    return connect_registry(settings, name_program())


def _sign_in(settings: Settings) -> RolloutControl:
    return replace(_connect(settings), person=name_person(settings))


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


def _record(model: str, action: Literal["freeze", "unfreeze"], why: str) -> None:
    with explained():
        settings = load_host_settings()
        refuse_stranger(model, settings.catalog_dir)
        control = _sign_in(settings)
        control.registry.read(model)  # proves the login
        control.log.record(model, action, control.who, why)
    Console().print(f"{model}: {action}", highlight=False)
