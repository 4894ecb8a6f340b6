"""`mlops upgrade` on fakes: what it refuses, what it waits for, and what it takes from the running stack."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from mlops.app import app
from mlops.commands import upgrading
from mlops.compose import ComposeProject, claim
from mlops.upgrade import conditions
from tests.unit.mlops.fake_docker import FakeDocker, answer_stack, describe_container

OLD, NEW = "0" * 40, "1" * 40

SERVICES = ("mlflow", "nginx", "postgres", "serving")


class FakeUpgrade:
    """An upgrade of a stack that runs the old commit with a profile; `runs` are those that it began."""

    def __init__(self, folder: Path, head: str = NEW) -> None:
        scheduler = describe_container(
            "airflow-scheduler", "image", folder, environment=[f"MLOPS_GIT_COMMIT={OLD}"], status="running"
        )
        files = "com.docker.compose.project.config_files"
        scheduler["Config"]["Labels"][files] = f"{folder}/docker-compose.yaml,{folder}/docker/celery/compose.yaml"
        docker = FakeDocker(answer_stack(scheduler, *(describe_container(name, "image", folder) for name in SERVICES)))
        self.stack = SimpleNamespace(project=ComposeProject(folder / ".env", docker.run))
        self.checkout = SimpleNamespace(
            folder=folder,
            list_changes=list,
            has=lambda commit: commit in {OLD, "HEAD~1"},
            resolve=lambda commit: OLD,
            describe=lambda commit: head if commit == "HEAD" else commit,
        )
        rows = {"schema_version": [], "pg_database": [["0"]]}
        ask = lambda _, statement: next(found for words, found in rows.items() if words in statement)  # noqa: E731
        postgres = SimpleNamespace(ask=ask)
        reader = SimpleNamespace(list_objects=lambda _: [])
        self.site = SimpleNamespace(postgres=postgres, reader=reader, marker=folder / ".mlops-restore")
        self.target = SimpleNamespace(folder=folder)
        self.report = lambda _: None
        self.runs: list[tuple[str, tuple[str, ...]]] = []
        self.has_gone_back = False

    def run(self, old: str, files: tuple[str, ...]) -> None:
        self.runs.append((old, files))

    def go_back(self) -> str:
        self.has_gone_back = True
        return "v0.1.0"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeUpgrade:
    work = FakeUpgrade(tmp_path)
    monkeypatch.setattr(upgrading, "_open", lambda *_: work)
    monkeypatch.setattr(upgrading, "version", lambda _: None)
    monkeypatch.setattr(upgrading.time, "sleep", lambda _: None)
    monkeypatch.setattr("mlops.local.state.read_airflow", lambda _: SimpleNamespace(url="", username="", password=""))
    monkeypatch.setattr(conditions, "find_work", lambda *_: [])
    return work


def upgrade(*options: str) -> Any:
    return CliRunner().invoke(app, ["upgrade", "--env-file", "/nowhere/.env", *options])


def test_it_goes_from_the_commit_and_with_the_profile_that_run(work: FakeUpgrade) -> None:
    ended = upgrade()
    assert ended.exit_code == 0, ended.output
    assert work.runs == [(OLD, ("docker-compose.yaml", "docker/celery/compose.yaml"))]


def test_a_commit_that_is_named_by_another_is_noted_by_its_digits(work: FakeUpgrade) -> None:
    """After the way back HEAD~1 is another one."""
    assert upgrade("--from", "HEAD~1").exit_code == 0
    assert [old for old, _ in work.runs] == [OLD]


def test_a_signal_that_ends_it_is_like_ctrl_c(work: FakeUpgrade) -> None:
    def end(*_: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    work.run = end  # type: ignore[method-assign]
    ended = upgrade()
    assert isinstance(ended.exception, SystemExit)
    assert ended.exit_code == 130


def test_the_same_commit_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = FakeUpgrade(tmp_path, head=OLD)
    monkeypatch.setattr(upgrading, "_open", lambda *_: work)
    ended = upgrade()
    assert (ended.exit_code, work.runs) == (0, [])
    assert "runs the commit of this checkout already" in ended.stdout


def test_what_did_not_end_comes_first(work: FakeUpgrade) -> None:
    marker = work.checkout.folder / ".mlops-upgrade"
    marker.touch()
    ended = upgrade()
    assert (ended.exit_code, work.runs) == (1, [])
    assert "run `mlops upgrade --back` first" in ended.stderr
    marker.unlink()
    work.site.marker.touch()
    assert "run `mlops restore` first" in upgrade().stderr
    assert upgrade("--back").exit_code == 0
    assert work.has_gone_back


def test_on_the_way_back_nothing_of_the_other_version_is_imported(
    work: FakeUpgrade, monkeypatch: pytest.MonkeyPatch
) -> None:
    def show(_: Path) -> None:
        raise ModuleNotFoundError("mlops.of_this_version")

    monkeypatch.setattr(upgrading, "version", show)
    ended = upgrade("--back")
    assert ended.exit_code == 0, ended.exception
    assert "v0.1.0 runs again, and the checkout is at it" in ended.stdout


@pytest.mark.parametrize("options", [[], ["--back"]], ids=["forward", "back"])
def test_a_second_one_at_once_is_refused(work: FakeUpgrade, options: list[str]) -> None:
    with claim(work.checkout.folder):
        ended = upgrade(*options)
    assert (ended.exit_code, work.runs, work.has_gone_back) == (1, [], False)
    assert "expected no other `mlops restore`, `mlops scale` or `mlops upgrade`" in ended.stderr


def test_work_under_way_is_named_waited_for_or_interrupted(work: FakeUpgrade, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([["batch_inference 7"]] * 3)
    monkeypatch.setattr(conditions, "find_work", lambda *_: next(answers, []))
    ended = upgrade()
    assert (ended.exit_code, work.runs) == (1, [])
    assert "under way, found batch_inference 7; wait for them by `--wait MINUTES`" in ended.stderr
    assert upgrade("--wait", "1").exit_code == 0
    assert len(work.runs) == 1
    monkeypatch.setattr(conditions, "find_work", lambda *_: ["batch_inference 7"])
    assert upgrade("--interrupt").exit_code == 0


def test_the_stack_without_docker_is_told_its_way(tmp_path: Path) -> None:
    ended = CliRunner().invoke(app, ["upgrade", "--env-file", str(tmp_path / "env")])
    assert ended.exit_code == 1
    assert "`mlops local down`, `git pull`, `make install`, `mlops local up`" in ended.stderr
