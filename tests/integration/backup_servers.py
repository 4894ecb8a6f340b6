"""Stands for a stack in the tests of backups: real databases with their roles, and a real store."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2

from ml_code.warehouse import Warehouse
from mlops.backup.databases import DATABASES
from mlops.local.services import find_postgres_programs
from tests.servers import ObjectStore, PostgresServer

INIT = Path(__file__).parents[2] / "docker/postgres/init.sh"
PASSWORD = "secret-of-a-test"
ROLES = ("AIRFLOW", "MLFLOW", "WAREHOUSE", "WAREHOUSE_OWNER")
MODEL = "1/models/m-1/artifacts/model.onnx"

MLFLOW_TABLES = """
    CREATE TABLE runs (run_uuid text);
    INSERT INTO runs VALUES ('a');
    CREATE TABLE model_versions (name text, version int, current_stage text, storage_location text, source text);
    INSERT INTO model_versions VALUES ('iris', 1, 'None', 'mlflow-artifacts:/1/models/m-1/artifacts', 'models:/m-1');
    CREATE TABLE registered_model_aliases (name text, alias text, version int);
    INSERT INTO registered_model_aliases VALUES ('iris', 'champion', 1);
"""
"""The columns that a check reads, as MLflow names them."""

MOVE = """
    INSERT INTO warehouse.promotion_log (model, action, to_version, who, why)
    VALUES ('iris', 'promote', '1', 'me', 'it is good')
"""


@dataclass
class Servers:
    """Stands for the stack: its servers run all the time, and it notes what it is told to do."""

    postgres: PostgresServer
    store: ObjectStore
    told: list[str] = field(default_factory=list)
    filled: dict[str, Any] | None = None

    def open_stores(self) -> None:
        self.told.append("open stores")

    def prepare_databases(self) -> None:
        self.told.append("prepare databases")
        passwords = {f"{name}_DB_PASSWORD": PASSWORD for name in ROLES}
        environment = {
            "PATH": f"{find_postgres_programs()}:/usr/bin:/bin",
            "PGHOST": self.postgres.host,
            "PGPORT": str(self.postgres.port),
            "POSTGRES_PASSWORD": self.postgres.password,
            **passwords,
        }
        done = subprocess.run(["bash", INIT], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        self.told.append("start")

    def ask(self, database: str, statement: str, user: str | None = None) -> list[Any]:
        login = f"{user}:{PASSWORD}" if user else f"postgres:{self.postgres.password}"
        connection = psycopg2.connect(f"postgresql://{login}@{self.postgres.host}:{self.postgres.port}/{database}")
        try:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def fill(self) -> None:
        """A used stack: rows of each database, a version with its file, a dataset; kept if unchanged."""
        self.told.clear()
        with suppress(psycopg2.Error):
            if self.filled == self.read_state():
                return
        self.empty()
        self.ask("airflow", "SET ROLE airflow; CREATE TABLE dag (id int); INSERT INTO dag VALUES (1)")
        self.ask("mlflow", f"SET ROLE mlflow; {MLFLOW_TABLES}")
        Warehouse(self.dsn("warehouse_owner")).migrate()
        self.ask("warehouse", MOVE, "warehouse")
        client = self.store.connect()
        client.put_object(Bucket="mlflow", Key=MODEL, Body=b"model")
        client.put_object(Bucket="datasets", Key="clean/iris/눈금 a&b.parquet", Body=b"x" * 9_000_000)
        self.filled = self.read_state()

    def empty(self) -> None:
        """A machine without data."""
        for database in DATABASES:
            self.ask("postgres", f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        client = self.store.connect()
        for bucket in ("airflow-logs", "datasets", "mlflow", "predictions"):
            for entry in client.list_objects_v2(Bucket=bucket).get("Contents", []):
                client.delete_object(Bucket=bucket, Key=entry["Key"])
        self.prepare_databases()
        self.told.clear()

    def dsn(self, user: str) -> str:
        return f"postgresql://{user}:{PASSWORD}@{self.postgres.host}:{self.postgres.port}/warehouse"

    def read_state(self) -> dict[str, Any]:
        """What a restore has to bring back, with owners and rights: each role reads its own tables."""
        client = self.store.connect()
        objects = {
            f"{bucket}/{entry['Key']}": client.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
            for bucket in ("datasets", "mlflow")
            for entry in client.list_objects_v2(Bucket=bucket).get("Contents", [])
        }
        return {
            "dags": self.ask("airflow", "SELECT id FROM dag", "airflow"),
            "aliases": self.ask("mlflow", "SELECT name, alias, version FROM registered_model_aliases", "mlflow"),
            # Without a schema: the path is a setting of the database.
            "moves": self.ask("warehouse", "SELECT model, to_version FROM promotion_log", "warehouse"),
            "owners": self.ask(
                "postgres", "SELECT datname, datdba::regrole::text, datacl::text FROM pg_database ORDER BY 1"
            ),
            "objects": objects,
        }
