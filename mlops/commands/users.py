"""`mlops users`: the people who sign in, in Airflow and MLflow at once."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from mlops.accounts import Role
from mlops.commands.output import AsJson, print_json, print_table
from mlops.endings import explained
from mlops.errors import AccountError
from mlops.host import load_administration

if TYPE_CHECKING:
    from mlops.people import People

Name = Annotated[str, typer.Argument(help="Name with which the person signs in.")]
Asks = Annotated[
    bool, typer.Option("--ask-password", help="Prompt for the password, or read it from stdin; otherwise it is random.")
]

commands = typer.Typer(help="The people who sign in, in Airflow and MLflow at once.", no_args_is_help=True)


@commands.command("add")
def add_user(
    name: Name,
    role: Annotated[Role, typer.Option(help="viewer: reads; operator: runs and approves; admin: everything.")],
    ask_password: Asks = False,
) -> None:
    """Add a person, or change the role of one; safe to repeat."""
    with explained(AccountError):
        password = _choose_password(asks=ask_password)
        is_new = _open_people().add(name, role, password)
    Console().print(f"{name}: {role} in Airflow and MLflow", highlight=False, soft_wrap=True)
    if is_new:
        _show(password, asks=ask_password)
    else:
        Console().print("the password stays; `mlops users password` sets another")


@commands.command("password")
def set_password(name: Name, ask_password: Asks = False) -> None:
    """Set a person's password in both, and end the sessions that the old one began."""
    with explained(AccountError):
        password = _choose_password(asks=ask_password)
        _open_people().set_password(name, password)
    Console().print(f"{name}: password set in Airflow and MLflow", highlight=False, soft_wrap=True)
    _show(password, asks=ask_password)


@commands.command("remove")
def remove_user(name: Name) -> None:
    """Remove a person from both; safe to repeat."""
    with explained(AccountError):
        _open_people().remove(name)
    Console().print(f"{name}: removed from Airflow and MLflow", highlight=False, soft_wrap=True)


@commands.command("list")
def list_users(*, as_json: AsJson = False) -> None:
    """List the people and their roles; a dash is an account that `mlops users add` completes."""
    with explained():
        rows = [{"name": person.name, **person.roles} for person in _open_people().list_all()]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, flexible=["name"])


def _open_people() -> People:
    from mlops.accounts import open_accounts
    from mlops.people import People

    found = load_administration()
    return People(open_accounts(found), frozenset({found.airflow_login[0], found.mlflow_login[0]}))


def _choose_password(*, asks: bool) -> str:
    """A random password, or the one that a person types; an argument would show in every list of processes."""
    from mlops.people import make_password

    if not asks:
        return make_password()
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\r\n")


def _show(password: str, *, asks: bool) -> None:
    """Prints a random password, once and nowhere else."""
    if not asks:
        Console().print(f"password, shown once: {password}", highlight=False, markup=False, soft_wrap=True)
