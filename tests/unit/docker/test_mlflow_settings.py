"""How MLflow is started, with a `python` and a `mlflow` that only write down what they are given."""

from __future__ import annotations

import configparser
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from flask import Flask
from werkzeug.datastructures import Authorization

FOLDER = Path(__file__).parents[3] / "docker" / "mlflow"


@pytest.fixture
def started(tmp_path: Path) -> Path:
    """The folder in which start.sh has run."""
    for name in ("python", "mlflow"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/{name}.calls\n')
        program.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "MLFLOW_DB_PASSWORD": "secret-of-the-database",
        "MLFLOW_DB_ADDRESS": "postgres:5432",
        "MLFLOW_AUTH_CONFIG_PATH": str(tmp_path / "auth.ini"),
    }
    done = subprocess.run(["sh", FOLDER / "start.sh"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tmp_path


def test_a_user_may_read_and_no_more_unless_told_otherwise(started: Path) -> None:
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(started / "auth.ini")
    assert dict(settings["mlflow"]) == {
        "default_permission": "READ",
        "database_uri": "postgresql+psycopg2://mlflow:secret-of-the-database@postgres:5432/mlflow",
        "authorization_function": "readers:authenticate",
        "auth_cache_ttl_seconds": "60",
    }


def test_nobody_else_reads_the_settings(started: Path) -> None:
    assert (started / "auth.ini").stat().st_mode & 0o777 == 0o600


def test_the_server_asks_for_a_login_and_no_argument_shows_the_password(started: Path) -> None:
    [call] = (started / "mlflow.calls").read_text().splitlines()
    assert "--app-name basic-auth" in call
    assert "secret-of-the-database" not in call + (started / "python.calls").read_text()


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The authorization function, behind a login that believes every name."""
    auth = ModuleType("mlflow.server.auth")
    auth.authenticate_request_basic_auth = lambda: Authorization("basic", {"username": "serving"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow.server.auth", auth)
    spec = importlib.util.spec_from_file_location("readers", FOLDER / "readers.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_reader_may_not_write(readers: ModuleType, method: str) -> None:
    with Flask("mlflow").test_request_context("/api/2.0/mlflow/registered-models/create", method=method):
        assert readers.authenticate().status_code == 403


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_reader_may_read(readers: ModuleType, method: str) -> None:
    with Flask("mlflow").test_request_context("/api/2.0/mlflow/registered-models/search", method=method):
        assert readers.authenticate().username == "serving"


def test_the_trainer_may_write(readers: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Authorization("basic", {"username": "trainer"})
    monkeypatch.setattr(readers, "authenticate_request_basic_auth", lambda: trainer)
    with Flask("mlflow").test_request_context("/api/2.0/mlflow/registered-models/create", method="POST"):
        assert readers.authenticate() is trainer
