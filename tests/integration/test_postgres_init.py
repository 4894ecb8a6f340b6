"""docker/postgres/init.sh on a real server: what its roles may do."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
import pytest
import yaml

from ml_code.settings import REPOSITORY
from ml_code.warehouse import MIGRATIONS, Warehouse
from serving.rollout.promotion_log import WarehouseLog
from serving.rollout.rows import WarehouseRollouts
from tests.integration.postgres_roles import NAMES, PASSWORDS, address, run_init, run_sql
from tests.servers import PostgresServer, run_postgres

COMPOSE = yaml.safe_load((REPOSITORY / "docker-compose.yaml").read_text())
INITDB = COMPOSE["services"]["postgres"]["environment"]["POSTGRES_INITDB_ARGS"].split()
"""With these arguments the image makes the folder of a new volume."""


# The superuser's name among the system's users is the image's; here its password stands in for it.
HBA = (REPOSITORY / "docker/postgres/pg_hba.conf").read_text().replace(" peer\n", " scram-sha-256\n")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with run_postgres(HBA, INITDB) as server:
        for _ in range(2):
            done = run_init(server)
            assert done.returncode == 0, done.stderr
            Warehouse(address(server, "warehouse_owner", "warehouse")).migrate()
        yield server


@pytest.fixture(scope="module")
def task(server: PostgresServer) -> str:
    """The DSN of the tasks, in a warehouse with one move, one rollout that has ended, and one under way."""
    dsn = address(server, "warehouse", "warehouse")
    rows, log = WarehouseRollouts(Warehouse(dsn)), WarehouseLog(Warehouse(dsn))
    opened = [
        rows.open(
            model,
            kind="rollout",
            from_version="1",
            to_version="2",
            state="validating",
            owner="dag/run",
            who="ada",
            run_url=None,
            lease_seconds=60,
        )
        for model in ("iris", "housing")
    ]
    log.record("iris", "promote", "ada", "better", from_version="1", to_version="2", rollout_id=opened[0].rollout_id)
    assert rows.write(opened[0].rollout_id, lease_seconds=60, state="promoted", is_over=True)
    return dsn


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


def test_a_task_owns_nothing_of_the_loop(server: PostgresServer, task: str) -> None:
    owners = run_sql(task, "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'warehouse'")
    assert owners == [("warehouse_owner",)]
    assert run_sql(task, "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'warehouse'") == [
        ("warehouse_owner",)
    ]
    for statement in (
        "CREATE TABLE warehouse.mine (x int)",
        "DROP TABLE warehouse.promotion_log",
        "ALTER TABLE warehouse.promotion_log DISABLE TRIGGER ALL",
        "DROP TRIGGER keep_history ON warehouse.rollout",
        "CREATE OR REPLACE FUNCTION warehouse.keep_history() RETURNS trigger LANGUAGE sql AS 'SELECT NULL'",
        "DELETE FROM warehouse.schema_version",
        "SET ROLE warehouse_owner",
        "SET session_replication_role = replica",
    ):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run_sql(task, statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE warehouse.promotion_log SET who = 'eve'",
        "UPDATE warehouse.promotion_log SET moved_at = now()",
        "DELETE FROM warehouse.promotion_log",
        "TRUNCATE warehouse.promotion_log",
        "TRUNCATE warehouse.rollout CASCADE",
        "INSERT INTO warehouse.promotion_log (model, action, who, why, moved_at) "
        "VALUES ('iris', 'freeze', '', '', now())",
        "INSERT INTO warehouse.promotion_log (move_id, model, action, who, why) OVERRIDING SYSTEM VALUE "
        "VALUES (0, 'iris', 'freeze', '', '')",
        "UPDATE warehouse.rollout SET reason = 'never' WHERE model = 'iris'",
        "UPDATE warehouse.rollout SET ended_at = NULL WHERE model = 'iris'",
        "UPDATE warehouse.rollout SET to_version = '9' WHERE model = 'housing'",
        "UPDATE warehouse.rollout SET started_at = now() WHERE model = 'housing'",
        "DELETE FROM warehouse.rollout WHERE model = 'housing'",
    ],
)
def test_history_is_not_rewritten(server: PostgresServer, task: str, statement: str) -> None:
    def read() -> list[tuple[Any, ...]]:
        return run_sql(
            task,
            "SELECT to_jsonb(t) FROM warehouse.promotion_log t UNION ALL SELECT to_jsonb(t) FROM warehouse.rollout t",
        )

    before = read()
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        run_sql(task, statement)
    assert read() == before
    if not statement.startswith("INSERT") and "housing" not in statement and "moved_at" not in statement:
        # Not even for the owner, as long as the triggers stand.
        with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="expected new rows only"):
            run_sql(address(server, "warehouse_owner", "warehouse"), statement)


@pytest.mark.parametrize(
    ("table", "insert"),
    [
        (
            "drift_window",
            "(model, version, window_start, window_end, verdict, rows, figures{}) "
            "VALUES ('iris', '3', '2026-11-20', '2026-11-21', 'drift', 300, '{{}}'{})",
        ),
        (
            "staleness",
            "(model, window_end, version, is_champion, metric, score, rows, rows_since, page_uri{}) "
            "VALUES ('iris', '2026-11-21', '3', true, 'accuracy', 0.9, 300, '2026-11-20', 's3://page'{})",
        ),
    ],
)
def test_a_judged_window_is_not_rewritten(task: str, table: str, insert: str) -> None:
    insert = f"INSERT INTO warehouse.{table} {insert}"
    run_sql(task, insert.format("", ""))
    for statement in (
        insert.format(", computed_at", ", now()"),
        f"UPDATE warehouse.{table} SET version = '4'",
        f"DELETE FROM warehouse.{table}",
    ):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run_sql(task, statement)
    assert run_sql(task, f"SELECT version FROM warehouse.{table}") == [("3",)]


def test_which_backups_there_are_is_not_theirs_to_write(task: str) -> None:
    assert run_sql(task, "SELECT count(*) FROM warehouse.backup") == [(0,)]
    for statement in (
        "INSERT INTO warehouse.backup VALUES ('a', now(), now(), 1)",
        "UPDATE warehouse.backup SET ended_at = now()",
        "DELETE FROM warehouse.backup",
    ):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run_sql(task, statement)


def test_an_attempt_to_train_again_is_not_rewritten(server: PostgresServer, task: str) -> None:
    """Its start says how many labels the next one needs, and its end what a person has decided."""
    begin = (
        "INSERT INTO warehouse.retraining (model, owner, cause, reason, since, until, labels{}) "
        "VALUES ('iris', 'run', 'drift', 'rows moved', '2026-11-19', '2026-11-21', 300{})"
    )
    end = "UPDATE warehouse.retraining SET outcome = 'rejected', ended_at = now()"
    run_sql(task, begin.format("", ""))
    for statement in (
        begin.format(", asked_at", ", now()"),
        "UPDATE warehouse.retraining SET labels = 1",
        "UPDATE warehouse.retraining SET asked_at = '2026-01-01'",
        "UPDATE warehouse.retraining SET model = 'housing'",
        "DELETE FROM warehouse.retraining",
    ):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run_sql(task, statement)
    run_sql(task, end)
    for statement in (end, "DELETE FROM warehouse.retraining", "TRUNCATE warehouse.retraining"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="expected new rows only"):
            run_sql(address(server, "warehouse_owner", "warehouse"), statement)
    assert run_sql(task, "SELECT labels, outcome FROM warehouse.retraining") == [(300, "rejected")]


def test_a_task_works_with_the_tables_and_makes_its_own(task: str) -> None:
    assert run_sql(
        task,
        "CREATE TEMP TABLE staging (x int)",
        "INSERT INTO employees VALUES (1, 'Ada', 'lab', 1, '2026-01-01', 'x')",
        "UPDATE employees SET salary = 2",
        "DELETE FROM employees",
        "CREATE SCHEMA mine",
        "CREATE TABLE mine.own (x int)",
        "CREATE TABLE optuna.studies (x int)",
        "SELECT count(*) FROM weather_forecast",
    ) == [(0,)]


def test_a_table_of_a_later_migration_is_open_to_tasks(server: PostgresServer, task: str) -> None:
    run_sql(address(server, "warehouse_owner", "warehouse"), "CREATE TABLE warehouse.later (x int)")
    assert run_sql(task, "INSERT INTO later VALUES (1) RETURNING x") == [(1,)]


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
