"""`mlops feedback`, with the warehouse's tables in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ml_code.datasets import CATALOG
from ml_code.settings import Settings
from ml_code.workspace import Workspace
from mlops.app import app

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


class FeedbackTables:
    """Counts of iris and of no known row, and the history of tokens."""

    def __init__(self) -> None:
        self.tokens: list[tuple[str, str, str, str]] = []
        self._answer: list[tuple[Any, ...]] = []

    @contextmanager
    def transaction(self) -> Iterator[FeedbackTables]:
        yield self

    @contextmanager
    def cursor(self) -> Iterator[FeedbackTables]:
        yield self

    def execute(self, statement: str, values: tuple[Any, ...]) -> None:
        if statement.startswith("INSERT INTO warehouse.label_token"):
            self.tokens.append(values)  # type: ignore[arg-type]
        elif "FROM warehouse.label_token" in statement:
            self._answer = [(token, action, NOON) for _, token, action, _ in self.tokens]
        else:
            assert "FROM warehouse.feedback_batch" in statement
            self._answer = [(40, 3, 2, 0, 1, 0, 0, 0) if values == ("iris",) else (0, 0, 0, 7, 0, 0, 0, 0)]

    def fetchone(self) -> tuple[Any, ...]:
        return self._answer[0]

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._answer


@pytest.fixture
def tables(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> FeedbackTables:
    (tmp_path / "iris.toml").write_text((CATALOG / "iris.toml").read_text())
    tables = FeedbackTables()
    workspace = Workspace(settings, connect_warehouse=lambda _: tables)  # type: ignore[arg-type,return-value]
    monkeypatch.setattr("mlops.commands.feedback.load_host_settings", lambda: settings)
    monkeypatch.setattr("mlops.commands.feedback.name_person", lambda _: "ada")
    monkeypatch.setattr("ml_code.workspace.open_workspace", lambda _: workspace)
    return tables


def run(*arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(app, ["feedback", *arguments], env={"COLUMNS": "200"}, **options)


@pytest.mark.usefixtures("tables")
def test_labels_are_counted_by_what_became_of_them() -> None:
    done = json.loads(run("iris", "--json").stdout)
    assert {name: number for name, number in done["counts"]["iris"].items() if number} == {
        "labels": 40,
        "duplicate": 3,
        "corrected": 2,
        "mistyped": 1,
    }
    assert done["counts"]["no known row"]["unknown"] == 7
    assert "no known row" in run("iris").stdout


def test_a_token_is_dropped_after_a_confirmation_and_restored_without_one(tables: FeedbackTables) -> None:
    assert run("iris", "--drop-token", "Shop", input="n\n").exit_code == 1
    assert tables.tokens == []
    assert "undo it with --restore-token shop" in run("iris", "--drop-token", "Shop", input="y\n").stdout
    assert "labels of shop until 2026-11-20" in run("iris").stdout
    assert run("iris", "--restore-token", "shop").exit_code == 0
    assert tables.tokens == [("iris", "shop", "drop", "ada"), ("iris", "shop", "restore", "ada")]
    assert "labels of shop" not in run("iris").stdout


def test_a_token_is_dropped_without_a_question_where_the_caller_says_so(tables: FeedbackTables) -> None:
    assert run("iris", "--drop-token", "shop", "--yes").exit_code == 0
    assert tables.tokens == [("iris", "shop", "drop", "ada")]


@pytest.mark.parametrize("arguments", [("nope",), ("iris", "--drop-token", "a", "--restore-token", "b")])
def test_what_cannot_be_meant_is_refused(tables: FeedbackTables, arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code != 0
    assert tables.tokens == []
