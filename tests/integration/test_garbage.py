"""The program that deletes unused runs beside MLflow's server, on a real MLflow, Postgres and store."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from ml_code.data import snapshots
from ml_code.gate import judging
from ml_code.settings import Settings
from ml_code.training import run
from ml_code.warehouse import DELETION_LOCK
from ml_code.workspace import Workspace
from tests.servers import MlflowServer, ObjectStore, PostgresServer

PROGRAM = Path(__file__).parents[2] / "docker/mlflow/garbage.py"
MODEL = "iris"
OLD_MS = 200 * 86_400_000


@dataclass(frozen=True)
class Server:
    """The database and the bucket of MLflow, and three runs: of the champion, never registered, and young."""

    database: str
    store: ObjectStore
    url: str
    runs: dict[str, str]

    def collect(self) -> str:
        """Runs the program once, and returns what it says."""
        environment = {
            **os.environ,
            "MLFLOW_BACKEND_STORE_URI": self.url,
            "AWS_ACCESS_KEY_ID": self.store.access_key,
            "AWS_SECRET_ACCESS_KEY": self.store.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "MLFLOW_S3_ENDPOINT_URL": self.store.url,
            "PYTHONWARNINGS": "ignore",
        }
        command = [sys.executable, PROGRAM, "90", "14", "once"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def ask(self, statement: str, *values: Any) -> list[Any]:
        with psycopg2.connect(self.database) as connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def read_stages(self) -> dict[str, str]:
        """The stage of each of the runs that are left."""
        found = dict(self.ask("SELECT run_uuid, lifecycle_stage FROM runs"))
        return {name: found[run_id] for name, run_id in self.runs.items() if run_id in found}

    def list_keys(self, words: list[str]) -> list[str]:
        found = self.store.connect().list_objects_v2(Bucket="mlflow").get("Contents", [])
        return [entry["Key"] for entry in found if any(word in entry["Key"] for word in words)]


def find_database(postgres: PostgresServer) -> str:
    with psycopg2.connect(postgres.dsn()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE datname LIKE 'mlflow_%'")
        return str(cursor.fetchone()[0])


@pytest.fixture
def server(
    postgres: PostgresServer, object_store: ObjectStore, mlflow_server: MlflowServer, stack_settings: Settings
) -> Iterator[Server]:
    mlflow_server.delete_models()
    workspace = Workspace(stack_settings.model_copy(update={"datasets_uri": "s3://datasets/garbage"}))
    uri = snapshots.prepare(workspace, MODEL)
    runs = {
        name: run.train(workspace, MODEL, uri, "sklearn", "random_forest", hyperparameters={"n_estimators": trees})
        for name, trees in (("champion", 3), ("unused", 4), ("young", 5))
    }
    judging.evaluate(workspace, runs["champion"])
    judging.decide(workspace, runs["champion"], force=True)
    mlflow_server.move_alias(MODEL, judging.register(workspace, runs["champion"]))
    name = find_database(postgres)
    yield Server(postgres.dsn(name), object_store, postgres.sqlalchemy_url(name), runs)
    mlflow_server.delete_models()


def test_an_unused_run_goes_in_two_steps_and_the_champion_stays(server: Server, stack_settings: Settings) -> None:
    champion, unused = server.runs["champion"], server.runs["unused"]
    server.ask("UPDATE runs SET start_time = start_time - %s WHERE run_uuid IN (%s, %s)", OLD_MS, champion, unused)
    assert "a first run shows and deletes nothing" in server.collect()
    assert "1 runs were never registered and are too old, 0 deleted ones too" in server.collect()
    assert server.read_stages() == {"champion": "active", "unused": "deleted", "young": "active"}
    names = [unused]
    names += [name for (name,) in server.ask("SELECT model_id FROM logged_models WHERE source_run_id = %s", unused)]
    assert len(server.list_keys(names)) > 1

    # A person deletes the champion's run: its version still comes from it.
    server.ask("UPDATE runs SET lifecycle_stage = 'deleted', deleted_time = 1 WHERE run_uuid = %s", champion)
    server.ask("UPDATE runs SET deleted_time = deleted_time - %s WHERE run_uuid = %s", OLD_MS, unused)
    with psycopg2.connect(server.database) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", (DELETION_LOCK,))
        assert "a backup is under way: nothing is deleted" in server.collect()
    assert "0 runs were never registered and are too old, 1 deleted ones too" in server.collect()
    assert server.read_stages() == {"champion": "deleted", "young": "active"}
    assert server.list_keys(names) == []
    assert server.ask("SELECT 1 FROM logged_models WHERE source_run_id = %s", unused) == []
    tracker = Workspace(stack_settings).tracker
    assert tracker.read_model_file(MODEL, tracker.read_aliases(MODEL)["champion"])
    server.ask("UPDATE runs SET lifecycle_stage = 'active', deleted_time = NULL WHERE run_uuid = %s", champion)
