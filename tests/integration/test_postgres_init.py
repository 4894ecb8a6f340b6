"""docker/postgres/init.sh on a real server: what its roles may do."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import psycopg2.errors
import pytest

from ml_code.settings import REPOSITORY
from ml_code.warehouse import MIGRATIONS, Warehouse
from serving.rollout.promotion_log import WarehouseLog
from tests.integration.postgres_roles import HBA, NAMES, PASSWORDS, address, run_init, run_migrated_twice, run_sql
from tests.servers import PostgresServer, run_postgres


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with run_migrated_twice() as server:
        yield server


@pytest.mark.parametrize("role", ["airflow", "celery", "mlflow", "warehouse"])
def test_a_role_opens_its_own_database_alone(server: PostgresServer, role: str) -> None:
    psycopg2.connect(address(server, role, role)).close()
    for other in {"airflow", "celery", "mlflow", "warehouse", "postgres", "template1"} - {role}:
        with pytest.raises(psycopg2.OperationalError, match=r"no pg_hba\.conf entry"):
            psycopg2.connect(address(server, role, other))


def test_a_database_is_open_to_its_owner_alone_even_from_within(server: PostgresServer) -> None:
    granted = run_sql(
        server.dsn(),
        "SELECT datname, rolname FROM pg_database, pg_roles WHERE datname IN ('airflow', 'mlflow', 'warehouse') "
        "AND rolcanlogin AND NOT rolsuper AND has_database_privilege(rolname, datname, 'CONNECT') ORDER BY 1, 2",
    )
    assert granted == [
        ("airflow", "airflow"),
        ("mlflow", "mlflow"),
        ("warehouse", "monitor"),
        ("warehouse", "warehouse"),
        ("warehouse", "warehouse_owner"),
    ]


def test_no_role_administers_the_server(server: PostgresServer) -> None:
    found = run_sql(
        server.dsn(),
        "SELECT rolname, rolsuper, rolcreatedb, rolcreaterole FROM pg_roles "
        "WHERE rolcanlogin AND rolname <> 'postgres'",
    )
    assert sorted(found) == [(name, False, False, False) for name in sorted(NAMES)]


def test_the_superuser_does_not_log_in_over_the_network(server: PostgresServer) -> None:
    for database in ("postgres", "warehouse", "airflow", "password_check"):
        with pytest.raises(psycopg2.OperationalError, match=r"pg_hba\.conf rejects connection"):
            psycopg2.connect(address(server, "postgres", database))


def test_in_the_container_the_superuser_is_the_systems_user(server: PostgresServer) -> None:
    lines = (REPOSITORY / "docker/postgres/pg_hba.conf").read_text().splitlines()
    local = [line.split()[1:] for line in lines if line.startswith("local")]
    assert local == [["password_check", "postgres", "scram-sha-256"], ["all", "postgres", "peer"]]


def test_a_volume_of_an_older_version_is_brought_to_the_same_rights(server: PostgresServer) -> None:
    """There `warehouse` owned its database and every table in it."""
    with run_postgres(HBA) as old:
        run_sql(old.dsn(), f"CREATE ROLE warehouse LOGIN PASSWORD '{PASSWORDS['WAREHOUSE_DB_PASSWORD']}'")
        with closing(psycopg2.connect(old.dsn())) as connection:
            connection.autocommit = True
            connection.cursor().execute("CREATE DATABASE warehouse OWNER warehouse")
        task = address(old, "warehouse", "warehouse")
        with tempfile.TemporaryDirectory() as folder:
            for file in MIGRATIONS.glob("000[1-6]*.sql"):
                shutil.copy(file, folder)
            Warehouse(task).migrate(Path(folder))
        run_sql(
            task,
            "INSERT INTO promotion_log (model, action, to_version, who, why) "
            "VALUES ('iris', 'promote', '1', 'ada@lab', '')",
            "CREATE TABLE optuna.studies (x int)",
            "CREATE TABLE warehouse.mine (x int)",
        )
        done = run_init(old)
        assert done.returncode == 0, done.stderr
        assert Warehouse(address(old, "warehouse_owner", "warehouse")).migrate()[0] == "0007_history.sql"
        assert run_sql(address(old, "warehouse_owner", "warehouse"), "SHOW search_path") == [("warehouse",)]
        rights = (
            "SELECT table_name, privilege_type, column_name FROM information_schema.column_privileges "
            "WHERE grantee = 'warehouse' AND table_schema = 'warehouse' AND table_name NOT IN ('mine', 'later') "
            "ORDER BY 1, 2, 3"
        )
        assert run_sql(task, rights) == run_sql(address(server, "warehouse", "warehouse"), rights)
        assert [move.who for move in WarehouseLog(Warehouse(task)).list_moves("iris")] == ["ada@lab"]
        run_sql(task, "ALTER TABLE mine ADD COLUMN y int", "DROP TABLE optuna.studies")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run_sql(task, "DELETE FROM promotion_log")


def test_a_byte_that_the_disk_has_changed_is_an_error_and_no_answer(server: PostgresServer) -> None:
    with closing(psycopg2.connect(server.dsn())) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("CREATE DATABASE damaged")
        run_sql(server.dsn("damaged"), "CREATE TABLE t AS SELECT 'the value' AS x")
        cursor.execute("CHECKPOINT")
        [(folder, name)] = run_sql(
            server.dsn("damaged"), "SELECT current_setting('data_directory'), pg_relation_filepath('t')"
        )
        file = Path(folder, name)
        file.write_bytes(file.read_bytes().replace(b"the value", b"the valuf"))
        # The server still has the page in memory; the copy is read from the disk.
        cursor.execute("CREATE DATABASE copied TEMPLATE damaged STRATEGY file_copy")
    assert run_sql(server.dsn("damaged"), "SELECT x FROM t") == [("the value",)]
    with pytest.raises(psycopg2.errors.DataCorrupted, match="invalid page in block 0"):
        run_sql(server.dsn("copied"), "SELECT x FROM t")


@pytest.mark.parametrize("victim", ["postgres", "warehouse_owner", "monitor"])
def test_no_other_role_runs_a_function_that_a_task_has_made(server: PostgresServer, victim: str) -> None:
    """Such a function is found first where a schema of the role's own name is searched, and its types fit better."""
    task = address(server, "warehouse", "warehouse")
    body = "BEGIN RAISE 'run as %', current_user; END"
    run_sql(
        task,
        f"CREATE SCHEMA {victim}",
        f"CREATE FUNCTION {victim}.format(text, text) RETURNS text LANGUAGE plpgsql AS $$ {body} $$",
        f"GRANT USAGE ON SCHEMA {victim} TO PUBLIC",
    )
    try:
        if victim == "postgres":
            done = run_init(server)
            assert done.returncode == 0, done.stderr
        else:
            assert run_sql(address(server, victim, "warehouse"), "SELECT format('%s', 'x')") == [("x",)]
    finally:
        run_sql(task, f"DROP SCHEMA {victim} CASCADE")


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
