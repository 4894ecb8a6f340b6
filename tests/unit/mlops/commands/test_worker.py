"""`mlops worker env`, with the settings of a checkout."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from dotenv import dotenv_values
from typer.testing import CliRunner, Result

from mlops.app import app
from mlops.worker.release import measure_release

ROOT = Path(__file__).parents[4]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in (
        "docker-compose.yaml",
        ".env.example",
        "pyproject.toml",
        "docker",
        "dags",
        "plugins",
        "ml_code/catalog",
    ):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    subprocess.run([tmp_path / "docker/bin/env.sh"], check=True, capture_output=True)
    return tmp_path


def run(checkout: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["worker", "env", "--env-file", str(checkout / ".env"), *arguments])


def test_it_prints_the_settings_of_this_checkout_and_its_release(checkout: Path, tmp_path: Path) -> None:
    done = run(checkout, "--host", "10.0.0.5")
    assert done.exit_code == 0, done.output
    file = tmp_path / "worker.env"
    file.write_text(done.stdout)
    told, stack = dotenv_values(file), dotenv_values(checkout / ".env")
    assert told["STACK_ADDRESS"] == "10.0.0.5"
    assert told["WORKER_RELEASE"] == measure_release(checkout, checkout).text
    assert told["BROKER_PASSWORD"] == stack["BROKER_PASSWORD"]
    for name in ("AIRFLOW_JWT_SECRET", "AIRFLOW_FERNET_KEY", "AIRFLOW_SECRET_KEY", "AIRFLOW_DB_PASSWORD"):
        assert stack[name] not in done.stdout


def test_without_an_address_it_ends_with_one_line(checkout: Path) -> None:
    done = run(checkout)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: WORKERS_ADDRESS: expected the address at which other hosts reach this one")
