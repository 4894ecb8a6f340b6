"""What a person decides about the version that serves, with the fakes of the registry and of the log."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from ml_code.settings import Settings
from mlops.app import app
from serving.errors import RegistryError
from tests.unit.mlops.commands.test_deploying import ClosableAirflow
from tests.unit.mlops.commands.test_models import run
from tests.unit.serving.rollout_fakes import Table


def test_a_rollback_moves_the_alias_and_the_history_has_the_reason(table: Table, settings: Settings) -> None:
    done = run("rollback", "iris", "--why", "it answers nonsense")
    assert (done.exit_code, done.stdout) == (0, "iris: champion 3 -> 2\n")
    newest = json.loads(run("history", "iris", "--json").stdout)[0]
    assert (newest["action"], newest["from_version"], newest["to_version"]) == ("rollback", "3", "2")
    assert newest["why"] == "it answers nonsense"
    assert newest["who"] == f"{settings.mlflow_username} (ada@lab)"
    assert newest["rollout_id"] == 4


def test_the_person_is_the_user_whom_airflow_accepts_whatever_the_machine_calls_them(
    table: Table, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "the-director")
    airflow = ClosableAirflow(table)
    monkeypatch.setattr(airflow, "sign_in", lambda seconds: "grace", raising=False)
    monkeypatch.setattr("mlops.commands.deploying.connect_airflow", lambda _: airflow)
    for words in (["freeze", "iris"], ["unfreeze", "iris"], ["promote", "iris", "2"], ["rollback", "iris"]):
        assert run(*words, "--why", "only a test").exit_code == 0
    assert [move.who for move in table.log.moves[-4:]] == ["grace (ada@lab)"] * 4


def test_a_freeze_needs_a_login_that_mlflow_accepts(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: str) -> dict[str, str]:
        raise RegistryError("found status 401", 401)

    monkeypatch.setattr(table.registry, "read", refuse)
    moves = len(table.log.moves)
    assert run("freeze", "iris", "--why", "only a test").exit_code == 1
    assert len(table.log.moves) == moves


def test_a_missing_reason_is_prompted_for(table: Table) -> None:
    done = CliRunner().invoke(app, ["promote", "iris", "1"], input="the old one was better\n")
    assert done.exit_code == 0
    assert table.registry.aliases == {"champion": "1", "previous": "3"}
    assert table.log.moves[-1].why == "the old one was better"


def test_a_freeze_holds_until_it_is_lifted(table: Table) -> None:
    assert run("freeze", "iris", "--why", "the fair").exit_code == 0
    assert json.loads(run("models", "--json").stdout)[0]["frozen"].endswith(": the fair")
    assert run("unfreeze", "iris", "--why", "it is over").exit_code == 0
    assert json.loads(run("models", "--json").stdout)[0]["frozen"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["promote", "tulips", "1", "--why", "x"], "found 'tulips', expected one of IrisModel, iris"),
        (["promote", "iris", "newest", "--why", "x"], "iris: found no version newest"),
        (["history", "tulips"], "found 'tulips', expected one of IrisModel, iris"),
        (["freeze", "tulips", "--why", "x"], "found 'tulips', expected one of IrisModel, iris"),
        (["rollback", "tulips"], "found 'tulips', expected one of IrisModel, iris"),
    ],
)
def test_an_unknown_name_or_version_is_a_usage_error(table: Table, arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert message in done.output


def test_a_rollback_needs_a_previous_version(table: Table) -> None:
    del table.registry.aliases["previous"]
    done = run("rollback", "iris", "--why", "x")
    assert done.exit_code == 2
    assert "found no version before the champion" in done.output
