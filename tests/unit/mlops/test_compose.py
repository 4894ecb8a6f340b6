"""The project of a checkout: who may change its containers."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mlops.commands import upgrading, version
from mlops.compose import ComposeProject, claim, find_reason
from mlops.errors import EngineError
from tests.unit.mlops.backup.test_site import ENV
from tests.unit.mlops.fake_docker import FakeDocker, answer_stack

SETTINGS = f"{ENV}BACKUP_DIR=/backups\n"


def test_the_version_of_a_stack_is_asked_with_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker = FakeDocker(answer_stack())
    monkeypatch.setattr(version, "ComposeProject", lambda env_file: ComposeProject(env_file, docker.run))
    (tmp_path / "other.env").touch()
    version.read_running(tmp_path / "other.env")
    assert docker.env_files == {str(tmp_path / "other.env")}


def test_an_upgrade_and_its_databases_have_the_settings_that_were_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = FakeDocker(answer_stack())
    make = lambda env_file: ComposeProject(env_file, docker.run)  # noqa: E731
    monkeypatch.setattr("mlops.compose.ComposeProject", make)
    monkeypatch.setattr("mlops.backup.site.ComposeProject", make)
    (tmp_path / "other.env").write_text(SETTINGS)
    work = upgrading._open(tmp_path / "other.env", None, print)
    work.stack.project.read()
    work.site.operator.start()
    assert docker.env_files == {str(tmp_path / "other.env")}
    assert work.site.postgres.launcher[:4] == ("docker", "compose", "--env-file", str(tmp_path / "other.env"))


def test_a_second_command_at_once_is_refused(tmp_path: Path) -> None:
    told = r"found one that runs; wait for its end"
    with claim(tmp_path), pytest.raises(EngineError, match=told), claim(tmp_path):
        pass
    with claim(tmp_path):
        pass


def test_a_share_without_locks_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    told = r"expected a file system with locks, found No locks available; move the checkout"
    with pytest.raises(EngineError, match=told), claim(tmp_path):
        pass


def test_of_what_compose_says_the_reason_is_told_once() -> None:
    reason = 'service "airflow-init" didn\'t complete successfully: exit 1'
    progress = " Container stack-mlflow-1  Starting\n Network stack_data  Created\n"
    assert find_reason(f"{progress} Container stack-airflow-init-1  {reason}\n{reason}\n{reason}\n") == reason
    assert find_reason(" Container stack-mlflow-1  Error\n") == "Container stack-mlflow-1  Error"
    assert find_reason("a" * 900) == "a" * 600
