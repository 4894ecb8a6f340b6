"""The wheel brings the command `mlops` into an environment that holds nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ml_code.settings import REPOSITORY

UV = Path(sys.executable).with_name("uv")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("MLOPS_", "VIRTUAL_ENV"))}


@pytest.fixture(scope="module")
def mlops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command as the wheel installs it."""
    folder = tmp_path_factory.mktemp("wheel")
    run(UV, "build", "--quiet", "--wheel", "--python", sys.executable, "--out-dir", folder, REPOSITORY, cwd=folder)
    [wheel] = folder.glob("*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "empty", cwd=folder)
    python = folder / "empty" / "bin" / "python"
    run(UV, "pip", "install", "--quiet", "--python", python, wheel, cwd=folder)
    return python.with_name("mlops")


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_brings_the_command_and_the_catalog(mlops: Path, tmp_path: Path) -> None:
    assert "rollback" in run(mlops, "--help", cwd=tmp_path)
    listed = run(mlops, "dataset", "list", cwd=tmp_path)
    assert all(name in listed for name in ("iris", "titanic", "housing"))


def test_a_command_that_needs_more_says_what_is_missing(mlops: Path, tmp_path: Path) -> None:
    settings = ("MLFLOW_URL", "MLFLOW_USERNAME", "MLFLOW_PASSWORD", "S3_ENDPOINT_URL", "S3_ACCESS_KEY", "S3_SECRET_KEY")
    environment = {**ENVIRONMENT, **{f"MLOPS_{name}": "http://127.0.0.1:1" for name in settings}}
    done = subprocess.run([mlops, "models"], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: library psycopg2: expected to import it")
