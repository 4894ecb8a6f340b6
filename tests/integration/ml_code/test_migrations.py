"""Each migration of the warehouse on a database of the version before, with rows in it, by the role that migrates."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ml_code.errors import WarehouseError
from ml_code.settings import REPOSITORY
from ml_code.warehouse import MIGRATIONS, Warehouse
from tests.integration.postgres_roles import HBA, INITDB, address, run_init, run_sql
from tests.servers import PostgresServer, run_postgres

ROWS = Path(__file__).with_name("warehouse_rows.sql")

TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'warehouse' AND tablename <> 'schema_version' ORDER BY 1"

type Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with run_postgres(HBA, INITDB) as server:
        done = run_init(server)
        assert done.returncode == 0, done.stderr
        yield server


@pytest.fixture
def owner(server: PostgresServer) -> str:
    """The DSN of the role that migrates, in a warehouse without tables."""
    run_sql(address(server, "warehouse_owner", "warehouse"), "DROP SCHEMA IF EXISTS warehouse CASCADE")
    return address(server, "warehouse_owner", "warehouse")


def read_parts() -> dict[str, str]:
    """The rows that each migration makes possible, by its name."""
    found = re.split(r"^-- after (\S+)$", ROWS.read_text(), flags=re.MULTILINE)[1:]
    return dict(zip(found[::2], found[1::2], strict=True))


def read_all(dsn: str) -> Rows:
    """Every row of the warehouse by table, as JSON."""
    tables = [name for (name,) in run_sql(dsn, TABLES)]
    return {name: [row for (row,) in run_sql(dsn, f"SELECT to_jsonb(t) FROM warehouse.{name} t")] for name in tables}


def list_lost(before: Rows, after: Rows) -> list[str]:
    """The rows of before that are not there any more with the same values; a migration may add columns."""
    return [
        f"{name}: {row}"
        for name, rows in before.items()
        for row in rows
        if not any(row == {column: found.get(column) for column in row} for found in after.get(name, []))
    ]


def test_every_migration_leaves_the_rows_of_the_version_before(owner: str, tmp_path: Path) -> None:
    parts = read_parts()
    warehouse = Warehouse(owner)
    for file in sorted(MIGRATIONS.glob("[0-9]*.sql")):
        before = read_all(owner) if file.name[:4] != "0001" else {}
        shutil.copy(file, tmp_path)
        assert warehouse.migrate(tmp_path) == [file.name]
        assert list_lost(before, read_all(owner)) == [], file.name
        if part := parts.pop(file.name, None):
            run_sql(owner, part)
    assert list(parts) == [], "expected each part to name a migration"
    empty = [name for name, rows in read_all(owner).items() if not rows]
    assert empty == [], f"expected rows in {ROWS.name} for each table of a migration"
    assert warehouse.migrate() == []


def test_a_migration_that_fails_leaves_the_database_as_it_was(owner: str, tmp_path: Path) -> None:
    warehouse = Warehouse(owner)
    newest = warehouse.migrate()[-1]
    shutil.copytree(MIGRATIONS, tmp_path, dirs_exist_ok=True)
    (tmp_path / "9998_good.sql").write_text("CREATE TABLE warehouse.half (number int)")
    (tmp_path / "9999_bad.sql").write_text("ALTER TABLE warehouse.no_such_table ADD COLUMN number int")
    with pytest.raises(WarehouseError, match=r"expected the migration 9999_bad\.sql to be applied, found: relation "):
        warehouse.migrate(tmp_path)
    assert run_sql(owner, "SELECT to_regclass('warehouse.half') IS NULL, max(name) FROM warehouse.schema_version") == [
        (True, newest)
    ]


def test_a_database_of_a_newer_version_is_refused_at_the_start(owner: str) -> None:
    Warehouse(owner).migrate()
    run_sql(owner, "INSERT INTO warehouse.schema_version (name) VALUES ('9999_later.sql')")
    command = [sys.executable, str(REPOSITORY / "docker/airflow/init.py")]
    environment = {"PATH": os.environ["PATH"], "WAREHOUSE_OWNER_DSN": owner}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert (done.stdout, done.stderr) == (
        "",
        "FAIL: warehouse: found the migration 9999_later.sql, which this version does not have; expected an older "
        "database: start the version that applied it, or restore a backup\n",
    )
