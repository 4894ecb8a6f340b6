"""The warehouse: the Postgres database for tables that the loop writes. The one module that knows psycopg2."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
import psycopg2.extensions
from psycopg2 import sql

from ml_code.errors import DataCheckError, SettingsError, WarehouseError
from ml_code.settings import Settings

MIGRATIONS = Path(__file__).parent / "migrations"
"""Numbered SQL files (`0001_name.sql`), applied once each, in order; never changed after a release."""

MIGRATION_LOCK = 7_305_001
"""Key of the advisory lock that admits one migration at a time."""

DELETION_LOCK = 7_305_013
"""Key of the advisory lock of a deletion of objects, and of a backup, which must find each object that it lists."""

Cursor = psycopg2.extensions.cursor


class Warehouse:
    """One database, by its libpq connection string.

    >>> Warehouse("host=postgres dbname=warehouse user=warehouse password=...").migrate()
    ['0001_search_path.sql']
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    @contextmanager
    def transaction(self) -> Iterator[psycopg2.extensions.connection]:
        """Opens a connection whose work is committed at the end, or rolled back on an error.

        Raises:
            WarehouseError: the database cannot be reached, or its connection string has no valid form.
            WarehouseError: the connection breaks before the end; then the database discards all of the work.
        """
        try:
            connection = psycopg2.connect(self._dsn, connect_timeout=10, application_name="mlops-loop")
        except psycopg2.ProgrammingError:
            # libpq's message quotes a part of the string, which may be the password.
            raise WarehouseError(
                "warehouse: expected a connection string such as `host=postgres dbname=warehouse user=warehouse "
                "password=...`, found one that libpq cannot read; correct MLOPS_WAREHOUSE_DSN"
            ) from None
        except psycopg2.OperationalError as error:
            raise WarehouseError(
                f"warehouse: expected to reach the database, found: {str(error).strip()}; is postgres up?"
            ) from error
        try:
            with closing(connection), connection:
                yield connection
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            # A rollback on a broken connection fails as well, and its error hides the cause.
            cause = error.__context__ if isinstance(error.__context__, psycopg2.Error) else error
            raise WarehouseError(
                f"warehouse: expected the connection to hold, found: {str(cause).strip()}; "
                "the database discarded this work, run it again"
            ) from error

    def connect(self, schema: str) -> psycopg2.extensions.connection:
        """Opens a connection for a library with its own schema; the caller closes it."""
        options = f"-csearch_path={schema}"
        return psycopg2.connect(self._dsn, connect_timeout=10, application_name="mlops-loop", options=options)

    def migrate(self, folder: Path = MIGRATIONS) -> list[str]:
        """Applies the missing migrations, all of them or none, and returns their names.

        Raises:
            WarehouseError: the database cannot be reached, has migrations that this version lacks, or refuses one.
        """
        with self.transaction() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
            cursor.execute("CREATE SCHEMA IF NOT EXISTS warehouse")
            cursor.execute(
                "CREATE TABLE IF NOT EXISTS warehouse.schema_version "
                "(name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
            )
            cursor.execute("SELECT name FROM warehouse.schema_version")
            done = {name for (name,) in cursor.fetchall()}
            files = {file.name: file for file in sorted(folder.glob("[0-9]*.sql"))}
            if unknown := sorted(done - files.keys()):
                what = "migrations" if len(unknown) > 1 else "migration"
                raise WarehouseError(
                    f"warehouse: found the {what} {', '.join(unknown)}, which this version does not have; expected an "
                    f"older database: start the version that applied {'them' if len(unknown) > 1 else 'it'}, or "
                    "restore a backup"
                )
            pending = [name for name in files if name not in done]
            for name in pending:
                try:
                    cursor.execute(files[name].read_text())
                except psycopg2.DatabaseError as error:
                    raise WarehouseError(
                        f"warehouse: expected the migration {name} to be applied, found: {str(error).strip()}; the "
                        "database is as it was: correct the file, or start the version before"
                    ) from error
                cursor.execute("INSERT INTO warehouse.schema_version (name) VALUES (%s)", (name,))
        return pending


def open_warehouse(settings: Settings) -> Warehouse:
    """The warehouse of the settings.

    Raises:
        SettingsError: the settings name none.
    """
    if settings.warehouse_dsn is None:
        raise SettingsError(
            "settings: found no MLOPS_WAREHOUSE_DSN, expected the libpq DSN of the warehouse; "
            "set it, or run this within the stack"
        )
    return Warehouse(settings.warehouse_dsn.get_secret_value())


@contextmanager
def hold_deletions(warehouse: Warehouse) -> Iterator[Callable[[], None] | None]:
    """Keeps every other deletion and every backup away, or yields None where one of them is under way.

    Yields the proof that the lock is still held: a call that raises WarehouseError, or ends the block with one, if it
    is not. The lock ends with the process, however that ends.

    Raises:
        WarehouseError: the warehouse cannot be reached.
    """
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", (DELETION_LOCK,))
        row = cursor.fetchone()
        yield (lambda: cursor.execute("SELECT 1")) if row and row[0] else None


def copy_csv(cursor: Cursor, table: str, columns: Sequence[str], content: bytes) -> None:
    """Copies UTF-8 CSV lines without header into a table by COPY, the fastest way into Postgres.

    Raises:
        DataCheckError: the table refuses a row.
    """
    statement = sql.SQL("COPY {} ({}) FROM STDIN WITH (FORMAT csv, ENCODING 'UTF8')").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    try:
        cursor.copy_expert(statement, io.BytesIO(content), size=1 << 16)
    except psycopg2.DataError as error:
        # Not the cause: its message quotes the row.
        raise DataCheckError(
            f"table {table}: found a row that the database refuses (SQLSTATE {error.pgcode}), expected rows that fit "
            "its columns; correct the file"
        ) from None
