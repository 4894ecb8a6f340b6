"""`mlops scale` as a person types it, on a `docker` that is a script."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mlops.app import app

DOCKER = """#!/bin/sh
case "$*" in
  ps*) printf 'nginx running 1\\nserving running 2\\nserving running 3\\n' ;;
  exec*) printf '2\\nMemAvailable: 2097152 kB\\n' ;;
  *) echo "$*" >>"$0.log" ;;
esac
"""


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose stack has two replicas, on a machine of two cores with 2 GB of free memory."""
    (tmp_path / "docker-compose.yaml").touch()
    (tmp_path / "bin").mkdir()
    docker = tmp_path / "bin/docker"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{docker.parent}:/usr/bin:/bin")
    path = tmp_path / ".env"
    path.write_text("SERVING_REPLICAS=2\n")
    return path


def run(env_file: Path, *arguments: str) -> Result:
    command = ["scale", "serving", *arguments, "--env-file", str(env_file)]
    return CliRunner().invoke(app, command, catch_exceptions=False)


def test_a_number_is_reached_and_kept(env_file: Path) -> None:
    done = run(env_file, "3")
    assert done.exit_code == 0
    assert done.stdout.startswith("2 -> 3 replicas in ")
    assert "The machine has 2 cores" in done.stdout
    assert env_file.read_text() == "SERVING_REPLICAS=3\n"
    assert "--wait --scale serving=3 serving" in (env_file.parent / "bin/docker.log").read_text()


def test_an_interruption_waits_for_docker_and_the_number(env_file: Path) -> None:
    docker = env_file.parent / "bin/docker"
    docker.write_text(DOCKER.replace("*) echo", "*) kill -INT $PPID; sleep 0.5; echo"))
    done = CliRunner().invoke(app, ["scale", "serving", "3", "--env-file", str(env_file)])
    assert done.exit_code != 0
    assert done.stdout.startswith("2 -> 3 replicas in ")
    assert env_file.read_text() == "SERVING_REPLICAS=3\n"
    assert "--scale serving=3 serving" in docker.with_name("docker.log").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["6"], "scale: found 6 replicas, expected at most 5: 2048 MB"),
        (["--auto", "--max", "6"], "--max: found 6 replicas, expected at most 5: 2048 MB"),
        (["--auto", "--max", "3"], "--max: found 3 replicas, expected at most 2, the machine's cores"),
    ],
)
def test_more_than_there_is_room_for_is_refused_without_a_change(
    env_file: Path, arguments: list[str], told: str
) -> None:
    done = run(env_file, *arguments)
    assert (done.exit_code, told in done.stderr) == (1, True), done.stderr
    assert env_file.read_text() == "SERVING_REPLICAS=2\n"
    assert not (env_file.parent / "bin/docker.log").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "found neither; `mlops scale serving 4`"),
        (["3", "--auto"], "found both"),
        (["--auto", "--min", "4", "--max", "3"], "expected --min up to --max, found 4 and 3"),
        (["0"], "greater than or equal to 1"),
    ],
)
def test_wrong_options_are_told(env_file: Path, arguments: list[str], told: str) -> None:
    done = run(env_file, *arguments)
    assert (done.exit_code, told in done.stderr) == (2, True), done.stderr


def test_a_stack_without_docker_has_one_replica(env_file: Path) -> None:
    (env_file.parent / "docker-compose.yaml").unlink()
    done = run(env_file, "3")
    assert done.exit_code == 1
    assert "expected the .env of a compose project" in done.stderr
