"""What the role of the tasks may do with the tables of the loop, on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg2
import psycopg2.errors
import pytest

from ml_code.warehouse import Warehouse
from serving.rollout.promotion_log import WarehouseLog
from serving.rollout.rows import WarehouseRollouts
from tests.integration.postgres_roles import address, run_migrated_twice, run_sql
from tests.servers import PostgresServer


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with run_migrated_twice() as server:
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
