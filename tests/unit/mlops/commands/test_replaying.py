from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from ml_code.datasets import CATALOG
from ml_code.monitoring.prediction_log.blocks import Head
from ml_code.workspace import Workspace
from mlops.app import app
from tests.log_rows import IRIS, NOON, make_log_workspace, make_rows, write_log

TRACE = "0af7651916cd43dd8448eb211c80319c"


class Versions:
    """MLflow, as far as a replay asks it: version 7 is the champion."""

    def __init__(self, content: bytes, champion: str | None = "7") -> None:
        self.content = content
        self.champion = champion
        self.asked: list[str] = []

    def read_aliases(self, name: str) -> dict[str, str]:
        return {"champion": self.champion} if self.champion else {}

    def read_model_file(self, name: str, version: str) -> bytes:
        self.asked.append(version)
        return self.content


@pytest.fixture
def tracker(contents: dict[str, bytes]) -> Versions:
    return Versions(contents["iris"])


@pytest.fixture
def workspace(tmp_path: Path, tracker: Versions, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    (tmp_path / "iris.toml").write_text((CATALOG / "iris.toml").read_text())
    settings = make_log_workspace(tmp_path).settings.model_copy(update={"catalog_dir": tmp_path})
    found: Any = tracker
    workspace = Workspace(settings, connect_tracker=lambda _: found)
    monkeypatch.setattr("mlops.commands.replaying.load_host_settings", lambda: settings)
    monkeypatch.setattr("mlops.commands.replaying.open_workspace", lambda _: workspace)
    return workspace


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["replay-request", *arguments], env={"COLUMNS": "300"})


def log(workspace: Workspace, head: Head = IRIS, name: str = "first", **changes: Any) -> str:
    """Logs two requests of one moment, the first of two rows, and returns its id."""
    rows = make_rows([[5.1, 3.5, 1.4, 0.2], [6.0, 2.9, 4.5, 1.5]], [0, 1], scores=[0.75, 0.5])
    first = rows[0].request_id
    second = rows[1]._replace(request_id=first, row=1, time_ms=rows[0].time_ms)
    [other] = make_rows([[6.0, 2.9, 4.5, 1.5]], [1], scores=[0.5], first=9)
    write_log(workspace, head, [row._replace(**changes) for row in (second, rows[0], other)], name)
    return first


def test_a_request_is_answered_again_by_the_champion_row_by_row(workspace: Workspace, tracker: Versions) -> None:
    done = run(log(workspace))
    assert done.exit_code == 0, done.output
    header, first, second = done.stdout.splitlines()
    assert header == "row,variant,version,prediction,score,replayed_version,replayed,replayed_score,trace_id"
    assert first.startswith("0,champion,3,0,0.7500,7,0,")
    assert second.startswith("1,champion,3,1,0.5000,7,1,")
    assert tracker.asked == ["7"]
    assert done.stderr == ""


def test_the_trace_of_a_request_is_shown_in_every_row(workspace: Workspace) -> None:
    done = run(log(workspace, trace_id=TRACE))
    assert [line.split(",")[-1] for line in done.stdout.splitlines()] == ["trace_id", TRACE, TRACE]


def test_rows_from_before_traces_were_logged_are_read_beside_later_ones(workspace: Workspace) -> None:
    request_id = log(workspace, trace_id=TRACE)
    [uri] = [entry.uri for entry in workspace.storage.list_objects(f"{workspace.places.locate_log('iris')}/")]
    table = pq.read_table(uri)
    pq.write_table(table.drop_columns(["trace_id"]), uri)
    log(workspace, Head(**{**describe(IRIS), "variant": "shadow", "version": "4"}), "second", trace_id=TRACE)
    assert [line.split(",")[-1] for line in run(request_id).stdout.splitlines()[1:]] == [""] * 4


def test_any_version_answers_and_a_shadow_of_the_request_is_shown_behind_it(
    workspace: Workspace, tracker: Versions
) -> None:
    request_id = log(workspace)
    log(workspace, Head(**{**describe(IRIS), "variant": "shadow", "version": "4"}), "second")
    done = run(request_id, "--version", "5")
    assert [line.split(",")[:3] + line.split(",")[5:6] for line in done.stdout.splitlines()[1:]] == [
        ["0", "champion", "3", "5"],
        ["1", "champion", "3", "5"],
        ["0", "shadow", "4", "5"],
        ["1", "shadow", "4", "5"],
    ]
    assert tracker.asked == ["5"]


def describe(head: Head) -> dict[str, Any]:
    names = ("model", "version", "variant", "traffic", "task", "features", "kinds")
    return {name: getattr(head, name) for name in names}


def test_features_that_are_not_logged_are_told_as_missing(workspace: Workspace) -> None:
    head = Head("iris", "3", "champion", "live", "classification", IRIS.features[:3], IRIS.kinds[:3])
    done = run(log(workspace, head, features=[5.1, 3.5, 1.4]))
    assert done.exit_code == 0, done.output
    assert "The log holds no value of petal_width: version 7 answered without it." in done.stderr


def test_a_request_that_is_not_in_the_log_is_told_with_its_hour(workspace: Workspace) -> None:
    log(workspace)
    [other] = make_rows([[1.0] * 4], [0], start=NOON + timedelta(minutes=3), first=9)
    done = run(other.request_id)
    assert done.exit_code == 2
    assert "found no such request in the log of 2026-11-20 12:00 UTC" in done.stderr


def test_a_refused_request_is_told_as_refused(workspace: Workspace) -> None:
    head = Head(**{**describe(IRIS), "variant": "refused"})
    done = run(log(workspace, head, features=None, prediction=None, score=None))
    assert done.exit_code == 2
    assert "found a request that was refused" in done.stderr


@pytest.mark.parametrize("request_id", ["order-1", "", "0" * 32, "f" * 12 + "7fff8" + "f" * 15])
def test_an_id_of_no_request_is_refused(workspace: Workspace, request_id: str) -> None:
    done = run(request_id)
    assert done.exit_code == 2
    found = f"request id: found {request_id!r}, expected the 32 hex digits of the header X-Request-Id of an answer"
    assert done.stderr == f"error: {found}; copy them from there\n"


def test_without_a_champion_a_version_must_be_named(workspace: Workspace, tracker: Versions) -> None:
    tracker.champion = None
    request_id = log(workspace)
    done = run(request_id)
    assert done.exit_code == 2
    assert "name a version by --version" in done.stderr
    assert run(request_id, "--version", "1").exit_code == 0
