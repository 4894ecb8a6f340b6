"""`mlops users`, with accounts in memory."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner, Result

from mlops.app import app
from mlops.people import People
from tests.unit.mlops.test_people import System

OWN_CHOICE = "correct horse battery"


@pytest.fixture
def systems(monkeypatch: pytest.MonkeyPatch) -> list[System]:
    """Both systems, which have the stack's own accounts and nobody else's."""
    systems = [System("Airflow", {"admin": ("admin", "x")}), System("MLflow", {"admin": ("admin", "x")})]
    monkeypatch.setattr("mlops.commands.users._open_people", lambda: People(systems, frozenset({"admin"})))
    return systems


def run(*arguments: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(app, ["users", *arguments], input=typed, env={"COLUMNS": "200"})


def read_password(done: Result) -> str:
    return done.stdout.rpartition("password, shown once: ")[2].strip()


def test_a_new_person_gets_a_random_password_that_is_shown_once(systems: list[System]) -> None:
    done = run("add", "ada", "--role", "operator")
    assert done.exit_code == 0
    assert "ada: operator in Airflow and MLflow" in done.stdout
    password = read_password(done)
    assert len(password) == 24
    assert [system.accounts["ada"] for system in systems] == [("operator", password)] * 2


def test_another_role_shows_no_password_and_changes_none(systems: list[System]) -> None:
    password = read_password(run("add", "ada", "--role", "viewer"))
    done = run("add", "ada", "--role", "admin")
    assert "shown once" not in done.stdout
    assert "the password stays" in done.stdout
    assert [system.accounts["ada"] for system in systems] == [("admin", password)] * 2


def test_a_chosen_password_is_read_from_stdin_and_not_printed(systems: list[System]) -> None:
    done = run("add", "ada", "--role", "viewer", "--ask-password", typed=f"{OWN_CHOICE}\r\n")
    assert systems[0].accounts["ada"] == ("viewer", OWN_CHOICE)
    assert OWN_CHOICE not in done.output


def test_a_password_is_replaced_in_both(systems: list[System]) -> None:
    first = read_password(run("add", "ada", "--role", "viewer"))
    second = read_password(run("password", "ada"))
    assert second != first
    assert {system.accounts["ada"][1] for system in systems} == {second}
    assert run("password", "ada", "--ask-password", typed=f"{OWN_CHOICE}\n").exit_code == 0
    assert {system.accounts["ada"][1] for system in systems} == {OWN_CHOICE}


def test_a_removed_person_is_in_no_list(systems: list[System]) -> None:
    run("add", "ada", "--role", "viewer")
    del systems[1].accounts["ada"]
    listed = json.loads(run("list", "--json").stdout)
    assert {"name": "ada", "Airflow": "viewer", "MLflow": None} in listed
    assert "ada" in run("list").stdout
    assert run("remove", "ada").exit_code == 0
    assert "ada" not in run("list").stdout


@pytest.mark.parametrize(
    ("arguments", "typed", "message"),
    [
        (("add", "a b", "--role", "viewer"), None, "expected up to 64 letters"),
        (("add", "admin", "--role", "viewer"), None, "an account of the stack itself"),
        (("add", "ada", "--role", "viewer", "--ask-password"), "short\n", "at least 12"),
        (("add", "ada", "--role", "viewer", "--ask-password"), "", "at least 12"),
        (("password", "bob"), None, "found no account in"),
        (("remove", "bob"), None, "found no account in"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_changes_nothing(
    systems: list[System], arguments: tuple[str, ...], typed: str | None, message: str
) -> None:
    done = run(*arguments, typed=typed)
    assert done.exit_code == 2
    assert message in done.output
    assert "Traceback" not in done.output
    assert [set(system.accounts) for system in systems] == [{"admin"}] * 2


def test_a_role_that_does_not_exist_is_refused_with_those_that_do(systems: list[System]) -> None:
    done = run("add", "ada", "--role", "root")
    assert done.exit_code == 2
    assert "'viewer', 'operator', 'admin'" in done.output


def test_a_system_that_is_away_ends_with_the_next_step(systems: list[System]) -> None:
    systems[1].refuses.add("create")
    done = run("add", "ada", "--role", "viewer")
    assert done.exit_code == 1
    assert "repeat the command" in done.output
    assert "shown once" not in done.output
    assert "ada" not in systems[0].accounts
