"""`mlops promote`, `rollback`, `freeze`, `unfreeze`: what a person decides about the version that serves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from mlops.commands.deploying import name_person
from mlops.commands.models import Model, open_control
from mlops.commands.predicting import refuse_stranger
from mlops.endings import explained
from mlops.host import load_host_settings

if TYPE_CHECKING:
    from serving.rollout.control import RolloutControl

Reason = Annotated[
    str | None,
    typer.Option(help="Reason for the log; you are prompted for a missing one.", show_default=False),
]

commands = typer.Typer()


@commands.command("promote")
def promote_version(
    model: Model, version: Annotated[str, typer.Argument(help="Version of the model, such as 7.")], why: Reason = None
) -> None:
    """Serve a version even if the gate rejected it; the replicas follow within seconds."""
    with explained():
        from serving.rollout.rollback import promote_by_hand

        control, reason = _open(model, why)
        rollout = promote_by_hand(control, model, version, reason)
    Console().print(f"{model}: champion {rollout.from_version or 'none'} -> {version}", highlight=False)


@commands.command()
def rollback(model: Model, why: Reason = None) -> None:
    """Serve the version before again; the current one is never picked automatically again."""
    with explained():
        from serving.rollout.rollback import roll_back

        control, reason = _open(model, why)
        rollout = roll_back(control, model, reason)
    Console().print(f"{model}: champion {rollout.from_version} -> {rollout.to_version}", highlight=False)


@commands.command()
def freeze(model: Model, why: Reason = None) -> None:
    """Stop every automatic promotion, until `mlops unfreeze`."""
    _record(model, "freeze", why)


@commands.command()
def unfreeze(model: Model, why: Reason = None) -> None:
    """Allow automatic promotions again."""
    _record(model, "unfreeze", why)


def _open(model: str, why: str | None) -> tuple[RolloutControl, str]:
    """The registry for the person who signs in, and the reason, which is asked for once the model is known."""
    settings = load_host_settings()
    refuse_stranger(model, settings.catalog_dir)
    reason = typer.prompt("Why") if why is None else why
    return replace(open_control(settings), person=name_person(settings)), reason


def _record(model: str, action: Literal["freeze", "unfreeze"], why: str | None) -> None:
    with explained():
        control, reason = _open(model, why)
        control.registry.read(model)  # proves the login
        control.log.record(model, action, control.who, reason)
    Console().print(f"{model}: {action}", highlight=False)
