"""How MLflow is started, with a `python` and a `mlflow` that only write down what they are given."""

from __future__ import annotations

import configparser
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from flask import Flask, request
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


def test_a_new_user_has_no_right(started: Path) -> None:
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(started / "auth.ini")
    assert dict(settings["mlflow"]) == {
        "default_permission": "NO_PERMISSIONS",
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


class Role:
    def __init__(self, name: str) -> None:
        self.name = name


class Store:
    """MLflow's users, each with a role of the same name; `admin` is an admin."""

    def get_user(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(id=name, is_admin=name == "admin")

    def list_user_roles(self, name: str) -> list[Role]:
        return [Role(name)]


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The authorization function, behind a login that believes every name."""
    auth = ModuleType("mlflow.server.auth")
    auth.authenticate_request_basic_auth = lambda: request.authorization  # type: ignore[attr-defined]
    auth._authenticate_cached = lambda username, password: username  # type: ignore[attr-defined]
    auth.store = Store()  # type: ignore[attr-defined]
    server = ModuleType("mlflow.server")
    server.auth = auth  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow.server", server)
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("readers", FOLDER / "readers.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def send(readers: ModuleType, user: str, method: str, path: str, body: object = None) -> int:
    """The status with which the function refuses a request; 200 where the user may go on."""
    options = {"method": method, "json": body, "auth": (user, "password")}
    with Flask("mlflow").test_request_context(path, **options):
        found = readers.authenticate()
    return 200 if isinstance(found, Authorization) else int(found.status_code)


CREATE = "/api/2.0/mlflow/registered-models/create"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("user", ["serving", "viewer", "stranger"])
def test_a_reader_may_not_write(readers: ModuleType, user: str, method: str) -> None:
    assert send(readers, user, method, CREATE) == 403


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_reader_may_read(readers: ModuleType, method: str) -> None:
    assert send(readers, "serving", method, "/api/2.0/mlflow/registered-models/search") == 200


@pytest.mark.parametrize("user", ["trainer", "operator", "admin"])
def test_a_writer_may_write(readers: ModuleType, user: str) -> None:
    assert send(readers, user, "POST", CREATE) == 200


def test_a_person_searches_by_post_and_a_replica_does_not(readers: ModuleType) -> None:
    search = "/ajax-api/2.0/mlflow/runs/search"
    assert [send(readers, user, "POST", search) for user in ("viewer", "serving")] == [200, 403]


def test_a_group_that_a_newer_mlflow_adds_is_closed(readers: ModuleType) -> None:
    for path in ("/api/4.0/mlflow/launchers/create", "/launch", "/api/2.0/mlflow/webhooks"):
        assert send(readers, "admin", "POST", path) == 404


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("experiments/create", {"name": "a"}, 200),
        ("experiments/create", {"name": "a", "artifact_location": ""}, 200),
        ("experiments/create", {"name": "a", "artifact_location": "s3://datasets"}, 400),
        ("experiments/create", {"name": "a", "artifactLocation": "s3://datasets"}, 400),
        ("experiments/create", '{"artifact_location": "s3://datasets"}', 400),
        ("traces", {"trace": {"tags": {"mlflow.artifactLocation": "s3://datasets"}}}, 400),
        ("runs/log-inputs", {"datasets": [{"dataset": {"source": "s3://datasets/iris"}}]}, 200),
        ("model-versions/create", {"source": "models:/m-1"}, 200),
        ("model-versions/create", {"source": "mlflow-artifacts:/1/r/artifacts/model"}, 200),
        ("model-versions/create", {"source": "mlflow-artifacts:/1/..%252fdatasets"}, 400),
        ("model-versions/create", {"source": "models:/%" + "25" * 300 + "2fdatasets"}, 400),
        ("model-versions/create", {"source": "models:/" + "m" * 493}, 400),
        ("model-versions/create", {"source": "s3://mlflow/1"}, 400),
        ("model-versions/create", {"source": ["s3://mlflow/1"]}, 400),
    ],
)
def test_the_server_chooses_where_files_lie(readers: ModuleType, path: str, body: object, status: int) -> None:
    assert send(readers, "admin", "POST", f"/api/2.0/mlflow/{path}", body) == status
