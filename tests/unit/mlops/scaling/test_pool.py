"""The commands that change the replicas, and the number in the settings."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mlops.errors import ScalingError
from mlops.scaling.pool import Pool, write_number


class Docker:
    """Answers `docker ps` with containers, and notes every other command."""

    def __init__(self, *containers: tuple[str, str]) -> None:
        self.containers = list(containers)
        self.commands: list[str] = []
        self.fails = False

    def __call__(self, command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        assert "SERVING_REPLICAS" not in options["env"]
        if command[1] == "ps":
            assert "label=com.docker.compose.project=mine" in command
            text = "".join(f"{service} {state} {number}\n" for number, (service, state) in enumerate(self.containers))
            return subprocess.CompletedProcess(command, 0, text, "")
        self.commands.append(" ".join(command))
        text = "/x/docker-compose.yaml,/x/docker/observability/compose.yaml\n" if command[1] == "inspect" else ""
        return subprocess.CompletedProcess(command, int(self.fails), text, "no space left")


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SERVING_REPLICAS", "9")
    monkeypatch.delenv("COMPOSE_PROJECT_NAME", raising=False)
    path = tmp_path / ".env"
    path.write_text("COMPOSE_PROJECT_NAME=mine\n# the number\nSERVING_REPLICAS=2\nA_PASSWORD='x y'\n")
    path.chmod(0o600)
    return path


RUNNING = (("nginx", "running"), ("serving", "running"), ("serving", "running"), ("serving", "exited"))


def test_the_replicas_that_run_are_counted(env_file: Path) -> None:
    assert Pool(env_file, Docker(*RUNNING)).count() == 2


def test_nothing_but_the_replicas_is_changed_and_the_settings_have_the_number(env_file: Path) -> None:
    docker = Docker(*RUNNING)
    Pool(env_file, docker).scale(4)
    assert docker.commands == [
        f"docker compose --env-file {env_file} up --detach --no-deps --no-recreate --scale serving=4 serving"
    ]
    assert env_file.read_text() == ("COMPOSE_PROJECT_NAME=mine\n# the number\nSERVING_REPLICAS=4\nA_PASSWORD='x y'\n")
    assert stat.S_IMODE(env_file.stat().st_mode) == 0o600
    assert list(env_file.parent.iterdir()) == [env_file]


def test_a_failure_of_docker_is_told_and_the_settings_stay(env_file: Path) -> None:
    docker = Docker(*RUNNING)
    docker.fails = True
    before = env_file.read_bytes()
    with pytest.raises(ScalingError, match="no space left"):
        Pool(env_file, docker).scale(4)
    assert env_file.read_bytes() == before


def test_the_exporter_learns_the_number_by_the_files_that_it_was_started_with(env_file: Path) -> None:
    docker = Docker(*RUNNING, ("exporter", "running"))
    Pool(env_file, docker).scale(3)
    assert docker.commands[-1].endswith(
        "--file /x/docker-compose.yaml --file /x/docker/observability/compose.yaml up --detach --no-deps exporter"
    )


@pytest.mark.parametrize(
    ("containers", "is_stopped"),
    [
        (RUNNING, False),
        ((("nginx", "restarting"), ("serving", "running")), False),
        ((("nginx", "exited"), ("serving", "running")), True),
        ((), True),
    ],
)
def test_a_stack_of_which_replicas_alone_run_was_stopped(
    env_file: Path, containers: tuple[tuple[str, str], ...], is_stopped: bool
) -> None:
    assert Pool(env_file, Docker(*containers)).is_stopped() == is_stopped


@pytest.mark.parametrize(
    ("containers", "ends"),
    [((("serving", "running"),), ["down"]), (RUNNING, []), ((("nginx", "exited"),), []), ((), [])],
)
def test_replicas_that_are_left_of_a_stack_are_removed(
    env_file: Path, containers: tuple[tuple[str, str], ...], ends: list[str]
) -> None:
    docker = Docker(*containers)
    Pool(env_file, docker).remove_leftovers()
    assert [command.rpartition(" ")[2] for command in docker.commands] == ends


def test_a_missing_gateway_is_told(env_file: Path) -> None:
    with pytest.raises(ScalingError, match="gateway: expected its container to run"):
        Pool(env_file, Docker(("serving", "running"))).read()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "SERVING_REPLICAS=3\n"),
        ("A=1", "A=1\nSERVING_REPLICAS=3\n"),
        ("SERVING_REPLICAS=2\nSERVING_REPLICAS=5", "SERVING_REPLICAS=2\nSERVING_REPLICAS=3\n"),
        ("# SERVING_REPLICAS=2\n", "# SERVING_REPLICAS=2\nSERVING_REPLICAS=3\n"),
        ("SERVING_REPLICAS=3\nB=2\n", "SERVING_REPLICAS=3\nB=2\n"),
    ],
)
def test_the_number_is_the_only_thing_that_changes(tmp_path: Path, before: str, after: str) -> None:
    (tmp_path / ".env").write_text(before)
    write_number(tmp_path / ".env", 3)
    assert (tmp_path / ".env").read_text() == after


def test_an_interruption_leaves_no_copy_of_the_secrets(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = env_file.read_bytes()
    monkeypatch.setattr("os.fchmod", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_number(env_file, 3)
    assert list(env_file.parent.iterdir()) == [env_file]
    assert env_file.read_bytes() == before


def test_root_does_not_take_the_settings_from_their_owner(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only root may give a file away, so what is asked of the system is looked at."""
    given: list[tuple[int, int]] = []
    if os.geteuid() == 0:
        os.chown(env_file, 12345, 23456)
    monkeypatch.setattr("os.fchown", lambda _, user, group: given.append((user, group)))
    owner = env_file.stat()
    write_number(env_file, 3)
    assert given == [(owner.st_uid, owner.st_gid)]
    assert stat.S_IMODE(env_file.stat().st_mode) == stat.S_IMODE(owner.st_mode) == 0o600


def test_settings_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    with pytest.raises(ScalingError, match="No such file or directory"):
        write_number(tmp_path / "missing" / ".env", 3)
