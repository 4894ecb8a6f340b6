from __future__ import annotations

import secrets

import pytest

from ml_code.errors import WarehouseError
from ml_code.warehouse import Warehouse, copy_csv
from tests.servers import PostgresServer


@pytest.fixture
def warehouse(postgres: PostgresServer) -> Warehouse:
    return Warehouse(postgres.create_database(f"warehouse_{secrets.token_hex(4)}"))


def test_lines_are_copied_into_the_columns_that_are_named(warehouse: Warehouse) -> None:
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute('CREATE TEMP TABLE "odd name" (number int, text text)')
        copy_csv(cursor, "odd name", ["text", "number"], '"김, 민서",1\n,2\n'.encode())
        cursor.execute('SELECT number, text FROM "odd name" ORDER BY number')
        assert cursor.fetchall() == [(1, "김, 민서"), (2, None)]


def test_a_connection_that_is_lost_is_told_apart_from_a_server_that_is_down(warehouse: Warehouse) -> None:
    with (
        pytest.raises(WarehouseError, match=r"expected the connection to hold, found: "),
        warehouse.transaction() as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    with pytest.raises(WarehouseError, match="is postgres up"), Warehouse("host=127.0.0.1 port=1").transaction():
        pass


def test_a_migration_is_applied_once(warehouse: Warehouse) -> None:
    assert "0002_employees.sql" in warehouse.migrate()
    assert warehouse.migrate() == []
