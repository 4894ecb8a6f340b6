"""What the log in a real Postgres says of versions, also where the rows are older than the column of verdicts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import cast

import pytest

from ml_code.verdicts import list_barred, read_verdicts
from ml_code.warehouse import MIGRATIONS, Warehouse
from serving.rollout.promotion_log import WarehouseLog
from serving.rollout.rows import Kind, State, WarehouseRollouts
from tests.servers import PostgresServer

OLD_ROW = """
    INSERT INTO warehouse.rollout (model, kind, from_version, to_version, state, reason, owner, lease_until, ended_at)
    VALUES ('iris', 'rollout', '1', %s, %s, %s, 'dag/run', now(), now())
"""


@pytest.fixture(scope="module")
def warehouse(postgres: PostgresServer) -> Warehouse:
    made = Warehouse(postgres.create_database("verdicts"))
    made.migrate()
    return made


def end(rows: WarehouseRollouts, name: str, before: str, after: str, state: State, *, is_verdict: bool = True) -> None:
    """Adds a row that has ended; the name is that of the model and the kind, such as `roses ab`."""
    model, kind = name.split()
    opened = rows.open(
        model,
        kind=cast(Kind, kind),
        from_version=before,
        to_version=after,
        state="promoting",
        owner="a@lab",
        who="ada",
        run_url=None,
        lease_seconds=60,
    )
    rows.write(opened.rollout_id, lease_seconds=60, state=state, is_over=True, is_verdict=is_verdict)


def test_the_last_verdict_on_a_version_counts_and_a_cancellation_is_none(warehouse: Warehouse) -> None:
    rows = WarehouseRollouts(warehouse)
    end(rows, "roses rollout", "1", "2", "aborted")
    end(rows, "roses rollout", "1", "3", "aborted")
    end(rows, "roses rollout", "1", "3", "promoted")
    end(rows, "roses rollout", "3", "4", "aborted", is_verdict=False)
    end(rows, "roses ab", "3", "5", "compared")
    end(rows, "roses rollout", "3", "2", "inconclusive", is_verdict=False)
    assert read_verdicts(warehouse, "roses") == {"2": "aborted", "3": "promoted", "5": "compared"}
    assert list_barred(warehouse, "roses") == {"2", "5"}
    assert list_barred(warehouse, "asters") == frozenset()


def test_what_a_rollback_replaced_stays_taken_back(warehouse: Warehouse) -> None:
    rows = WarehouseRollouts(warehouse)
    end(rows, "tulips rollout", "2", "3", "promoted")
    end(rows, "tulips rollback", "3", "2", "rolled back", is_verdict=False)
    end(rows, "tulips rollback", "4", "2", "aborted", is_verdict=False)
    end(rows, "tulips rollout", "2", "3", "promoted")
    assert list_barred(warehouse, "tulips") == {"3"}


def test_a_rollback_from_before_the_table_of_rollouts_counts(warehouse: Warehouse) -> None:
    WarehouseLog(warehouse).record("lilies", "rollback", "ada", "wrong", from_version="7", to_version="6")
    assert list_barred(warehouse, "lilies") == {"7"}


def test_rows_that_are_older_than_the_column_tell_by_their_reason(postgres: PostgresServer, tmp_path: Path) -> None:
    warehouse = Warehouse(postgres.create_database("older_verdicts"))
    for file in MIGRATIONS.glob("*.sql"):
        if file.name < "0013":
            shutil.copy(file, tmp_path)
    warehouse.migrate(tmp_path)
    ends = [
        ("2", "aborted", "the canary: found 5 failures, expected at most 2 %"),
        ("3", "aborted", "version 4 takes its place (dag/newer)"),
        ("4", "aborted", "frozen by ada meanwhile (the fair)"),
        ("5", "aborted", "the champion: found version 1, expected 2; it was moved by hand meanwhile"),
        ("6", "aborted", "approved by ada, who asked for a looser value than the catalog's; another person must"),
        ("7", "aborted", "not signed: found gate=unsigned, expected the signature"),
        ("8", "inconclusive", "too little was seen"),
        ("9", "promoted", "its canary did as well"),
        ("10", "aborted", "cancelled by the rollback of ada@lab: wrong"),
    ]
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.executemany(OLD_ROW, ends)
    assert "0013_verdicts.sql" in warehouse.migrate()
    assert read_verdicts(warehouse, "iris") == {"2": "aborted", "9": "promoted", "10": "aborted"}
