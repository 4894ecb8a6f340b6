"""The commands of `mlops` about versions that serve, beside those of `ml_code`."""

from __future__ import annotations

import getpass
import json
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Literal

import httpx
import typer
from rich.console import Console
from rich.table import Table

from ml_code.cli import app
from ml_code.command_errors import FAILURE, USAGE_ERROR, fail
from ml_code.datasets import load_catalog
from ml_code.errors import CatalogError, MlopsError
from ml_code.settings import Settings, load_settings
from ml_code.storage import Storage
from ml_code.warehouse import open_warehouse
from serving.errors import NoCandidateError, ServingError
from serving.registry.names import CHAMPION, PREVIOUS
from serving.rollout.control import Control, connect_registry
from serving.rollout.rollback import promote_by_hand, roll_back

__all__ = ["app"]

ANSWERS = "answers"

Model = Annotated[str, typer.Argument(help="Registered model; `mlops models` lists them.")]
Reason = Annotated[str, typer.Option(prompt="Why", help="Why, for the log; asked for if it is not given.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command()
def models(*, as_json: AsJson = False) -> None:
    """List the models: which version serves, the one before, the newest that passed the gate."""
    with _explained():
        settings = load_settings()
        control = _connect(settings)
        rows = [_describe_model(control, name) for name in load_catalog(settings.catalog_dir).list_models()]
    _show(rows, as_json=as_json)


@app.command()
def history(model: Model, *, as_json: AsJson = False) -> None:
    """List who let which version serve, when and why, the newest first."""
    with _explained():
        settings = load_settings()
        _refuse_stranger(settings, model)
        moves = _connect(settings).log.list_moves(model)
        rows = [asdict(move) | {"moved_at": f"{move.moved_at:%Y-%m-%d %H:%M:%S%z}"} for move in moves]
    _show(rows, as_json=as_json)


@app.command("promote")
def promote_version(
    model: Model, version: Annotated[str, typer.Argument(help="Version of it, such as 7.")], why: Reason
) -> None:
    """Let a version serve, whatever the gate said; the replicas follow within seconds."""
    with _explained():
        settings = load_settings()
        _refuse_stranger(settings, model)
        rollout = promote_by_hand(_connect(settings), model, version, why)
    Console().print(f"{model}: champion {rollout.from_version or 'none'} -> {version}", highlight=False)


@app.command()
def rollback(model: Model, why: Reason) -> None:
    """Let the version before serve again; the one that served is never picked by itself any more."""
    with _explained():
        settings = load_settings()
        _refuse_stranger(settings, model)
        rollout = roll_back(_connect(settings), model, why)
    Console().print(f"{model}: champion {rollout.from_version} -> {rollout.to_version}", highlight=False)


@app.command()
def freeze(model: Model, why: Reason) -> None:
    """Stop every promotion that nobody asks for, until `mlops unfreeze`."""
    _record(model, "freeze", why)


@app.command()
def unfreeze(model: Model, why: Reason) -> None:
    """Let promotions happen by themselves again."""
    _record(model, "unfreeze", why)


@app.command()
def status(*, as_json: AsJson = False) -> None:
    """Say which parts of the stack answer; the exit code is 1 if one does not."""
    with _explained():
        settings = load_settings()
    rows = [
        _check("MLflow", settings.mlflow_url, lambda: _connect(settings).aliases.read("iris")),
        _check("warehouse", "postgres", lambda: _ask_warehouse(settings)),
        _check("object store", settings.s3_endpoint_url, lambda: Storage(settings).find(settings.datasets_uri)),
        _check("gateway", settings.gateway_url, lambda: _ask_gateway(settings)),
    ]
    _show(rows, as_json=as_json)
    if any(row["state"] != ANSWERS for row in rows):
        raise typer.Exit(FAILURE)


def _connect(settings: Settings) -> Control:
    return connect_registry(settings, _name_person())


def _describe_model(control: Control, name: str) -> dict[str, str | None]:
    found, frozen = control.aliases.read(name), control.log.find_freeze(name)
    active = control.rows.find_active(name)
    return {
        "model": name,
        "champion": found.get(CHAMPION),
        "previous": found.get(PREVIOUS),
        "newest passed": control.aliases.find_newest_passed(name),
        "under way": f"{active.state}: version {active.to_version}" if active else None,
        "frozen": f"{frozen.who}: {frozen.why}" if frozen else None,
    }


def _record(model: str, action: Literal["freeze", "unfreeze"], why: str) -> None:
    with _explained():
        settings = load_settings()
        _refuse_stranger(settings, model)
        _connect(settings).log.record(model, action, _name_person(), why)
    Console().print(f"{model}: {action}", highlight=False)


def _refuse_stranger(settings: Settings, model: str) -> None:
    names = load_catalog(settings.catalog_dir).list_models()
    if model not in names:
        raise CatalogError(f"model: found {model!r}, expected one of {', '.join(names)}; choose one of these")


def _check(part: str, address: str, ask: Callable[[], object]) -> dict[str, str]:
    try:
        ask()
    except (MlopsError, ServingError, httpx.HTTPError) as error:
        return {"part": part, "address": address, "state": (str(error).splitlines() or [type(error).__name__])[0]}
    return {"part": part, "address": address, "state": ANSWERS}


def _ask_warehouse(settings: Settings) -> None:
    with open_warehouse(settings).transaction() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _ask_gateway(settings: Settings) -> None:
    httpx.get(f"{settings.gateway_url}/healthz", timeout=5).raise_for_status()


def _show(rows: Sequence[Mapping[str, str | None]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(list(rows), ensure_ascii=False, indent=2))  # noqa: T201  not wrapped to the terminal's width
        return
    if not rows:
        Console().print("nothing yet")
        return
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(value or "-" for value in row.values()))
    Console().print(table)


def _name_person() -> str:
    return f"{getpass.getuser()}@{socket.gethostname()}"


@contextmanager
def _explained() -> Iterator[None]:
    """Ends the command with one line where something is wrong."""
    try:
        yield
    except (CatalogError, NoCandidateError) as error:
        fail(error, USAGE_ERROR)
    except (MlopsError, ServingError) as error:
        fail(error, FAILURE)
