"""The lists of versions, with the fakes of the registry and of the log."""

from __future__ import annotations

import json
import time
from datetime import timedelta, timezone

import pytest
from typer.testing import CliRunner, Result

from mlops.app import app
from tests.unit.serving.rollout_fakes import Table


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})


def test_models_are_listed_with_their_serving_version(table: Table) -> None:
    done = run("models", "--json")
    assert [model for model in json.loads(done.stdout) if model["model"] == "iris"] == [
        {"model": "iris", "champion": "3", "previous": "2", "newest passed": "3", "under way": None, "frozen": None}
    ]
    assert "newest passed" in run("models").stdout


def test_tables_fit_80_columns_and_break_no_word(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    why = "the fair on Monday shows the version that our partners have seen and agreed upon"
    table.log.record("iris", "freeze", "ada.lovelace@analytical-engine-7", why)
    history, models = (CliRunner().invoke(app, words).stdout for words in (["history", "iris"], ["models"]))
    for shown in (history, models):
        assert max(map(len, shown.splitlines())) <= 80
    assert set(why.split()) <= set(history.split())
    assert "freeze" in history
    assert "iris is frozen by ada.lovelace@analytical-engine-7: the fair" in " ".join(models.split())
    assert models.splitlines()[0].split() == ["model", "champion", "previous", "newest", "passed", "under", "way"]


def test_the_history_shows_local_time(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Seoul")
    time.tzset()
    moved_at = table.log.moves[-1].moved_at
    shown = run("history", "iris").stdout
    monkeypatch.undo()
    time.tzset()
    assert f"{moved_at.astimezone(timezone(timedelta(hours=9))):%Y-%m-%d %H:%M}" in shown
