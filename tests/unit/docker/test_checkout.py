"""A second checkout of the same stack on one machine: its message, and that it touches nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCKER = """#!/usr/bin/env bash
# `containers` has project and folder of each container, `volumes` project and name of each volume.
echo "$*" >> "{folder}/calls"
project=${{*: -1}}
case $1 in
  ps) file=containers ;;
  volume) file=volumes ;;
  *) exit 1 ;;
esac
sed -n "s/^${{project##*=}} //p" "{folder}/$file"
"""


class Engine:
    """A Docker engine that lists containers and volumes, and records its calls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in ("containers", "volumes", "calls"):
            (folder / name).touch()
        (folder / "docker").write_text(DOCKER.format(folder=folder))
        (folder / "docker").chmod(0o755)

    def add_container(self, project: str, folder: Path) -> None:
        with (self.folder / "containers").open("a") as file:
            file.write(f"{project} {folder}\n")

    def add_volume(self, project: str) -> None:
        with (self.folder / "volumes").open("a") as file:
            file.write(f"{project} {project}_postgres-data\n")

    def list_calls(self) -> set[str]:
        """First words of the commands that ran."""
        return {line.split()[0] for line in (self.folder / "calls").read_text().splitlines()}


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(tmp_path / "engine")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A fresh checkout, as far as `make up` looks at it before it starts anything."""
    clone = tmp_path / "a clone"
    shutil.copytree(ROOT / "docker/bin", clone / "docker/bin")
    for name in ("Makefile", ".env.example", "docker-compose.yaml"):
        shutil.copy(ROOT / name, clone / name)
    return clone


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The folder of another checkout."""
    other = tmp_path / "other"
    other.mkdir()
    return other


def run(clone: Path, engine: Engine, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{engine.folder}:{os.environ['PATH']}"
    return subprocess.run(
        command, cwd=clone, env={"PATH": path, **environment}, check=False, capture_output=True, text=True
    )


def check(clone: Path, engine: Engine, **environment: str) -> subprocess.CompletedProcess[str]:
    return run(clone, engine, "docker/bin/checkout.sh", **environment)


def test_a_first_checkout_may_start(clone: Path, engine: Engine) -> None:
    done = check(clone, engine)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_machine_without_docker_is_left_to_compose(clone: Path, engine: Engine) -> None:
    (engine.folder / "docker").write_text("#!/bin/sh\nexit 127\n")
    assert check(clone, engine).returncode == 0


def test_the_folder_that_runs_the_stack_may_start_it_again(clone: Path, engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(clone)
    (clone / ".env").touch()
    engine.add_container("mlops-loop", tmp_path / "link")
    engine.add_volume("mlops-loop")
    assert check(clone, engine).returncode == 0


def test_a_missing_folder_counts_as_moved_here(clone: Path, engine: Engine, tmp_path: Path) -> None:
    (clone / ".env").touch()
    engine.add_container("mlops-loop", tmp_path / "before")
    assert check(clone, engine).returncode == 0


@pytest.mark.parametrize("command", ["up", "down"])
def test_the_stack_of_another_folder_is_named_and_not_touched(
    command: str, clone: Path, engine: Engine, other: Path
) -> None:
    engine.add_container("mlops-loop", clone)
    engine.add_container("mlops-loop", other)
    done = run(clone, engine, "make", command)
    assert done.returncode != 0
    assert f"FAIL: stack mlops-loop: expected that this folder runs it, found that {other} runs it" in done.stderr
    assert engine.list_calls() == {"ps", "volume"}
    assert not (clone / ".env").exists()


def test_volumes_of_another_env_are_found_before_a_new_one_is_written(clone: Path, engine: Engine) -> None:
    engine.add_volume("mlops-loop")
    done = run(clone, engine, "make", "up")
    assert "found volumes that another .env made" in done.stderr
    assert not (clone / ".env").exists()


def test_the_command_in_the_message_makes_a_stack_of_its_own(clone: Path, engine: Engine, other: Path) -> None:
    engine.add_container("mlops-loop", other)
    engine.add_volume("mlops-loop")
    # A second checkout runs, too, and a third one has left its data.
    engine.add_container("mlops-loop-2", other)
    engine.add_volume("mlops-loop-3")
    command = check(clone, engine).stderr.splitlines()[-1].removesuffix("&& make up")
    assert run(clone, engine, "bash", "-c", command + "; true").returncode == 0
    assert check(clone, engine).returncode == 0
    example, settings = read_env(clone / ".env.example"), read_env(clone / ".env")
    assert settings["COMPOSE_PROJECT_NAME"] == settings["IMAGE_TAG"] == "mlops-loop-4"
    ports = [name for name, value in example.items() if name.endswith("_PORT") and value]
    assert len(ports) == 9
    assert [int(settings[name]) - int(example[name]) for name in ports] == [300] * 9


def test_the_environments_project_name_takes_precedence_over_that_of_env(
    clone: Path, engine: Engine, other: Path
) -> None:
    (clone / ".env").write_text("COMPOSE_PROJECT_NAME=mine\n")
    engine.add_container("mlops-loop", other)
    engine.add_container("theirs", other)
    assert check(clone, engine).returncode == 0
    assert check(clone, engine, COMPOSE_PROJECT_NAME="theirs").returncode == 1


def read_env(file: Path) -> dict[str, str]:
    """Settings of a file; of two lines with the same name the last one counts."""
    lines = file.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
