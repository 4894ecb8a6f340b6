"""What ran before an upgrade: noted in a file before anything is changed, so that a killed upgrade can be undone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from mlops.backup.databases import DATABASES, Postgres
from mlops.errors import UpgradeError

MARKER = ".mlops-upgrade"

SCHEMA_TABLES = """
    SELECT quote_ident(table_schema) || '.' || quote_ident(table_name) FROM information_schema.tables
    WHERE table_type = 'BASE TABLE' AND (table_schema IN ('public', 'optuna') AND table_name LIKE 'alembic\\_version%'
          OR table_schema = 'warehouse' AND table_name = 'schema_version')
    ORDER BY 1
"""
"""The tables in which Alembic, for Airflow and MLflow, and the warehouse keep the migrations that they have had."""

COLUMNS = {"warehouse.schema_version": "name"}

type Schemas = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Before:
    """The version that runs until an upgrade: its commit, its images, the migrations of its databases.

    `new` is the commit of the upgrade, `set_folder` the backup, once it is made, `containers` are the ids of what ran.
    """

    commit: str
    new: str
    files: tuple[str, ...]
    images: Mapping[str, str]
    schemas: Schemas
    set_folder: str | None = None
    containers: tuple[str, ...] = ()

    def write(self, checkout: Path) -> None:
        """Writes the file, whole or not at all."""
        partial = checkout / f"{MARKER}.partial"
        partial.write_text(json.dumps(asdict(self), indent=1))
        partial.replace(checkout / MARKER)


def read_before(checkout: Path) -> Before | None:
    """What an upgrade that did not end has noted; None without one.

    Raises:
        UpgradeError: the file is not what an upgrade writes.
    """
    file = checkout / MARKER
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return TypeAdapter(Before).validate_json(text)
    except ValidationError as error:
        raise UpgradeError(
            f"{file}: expected what an upgrade noted of the version before, found {len(text)} bytes of something else; "
            "check out that version and delete the file, then run `make up`"
        ) from error


def forget_before(checkout: Path) -> None:
    """Deletes the file: the upgrade has ended."""
    (checkout / MARKER).unlink(missing_ok=True)


def read_schemas(postgres: Postgres) -> dict[str, list[str]]:
    """The migrations that each database has had; none where the database is missing.

    Raises:
        BackupError: the server does not answer.
    """
    return {name: _read_schema(postgres, name) if postgres.has_database(name) else [] for name in DATABASES}


def _read_schema(postgres: Postgres, database: str) -> list[str]:
    found = []
    for (table,) in postgres.ask(database, SCHEMA_TABLES):
        column = COLUMNS.get(table, "version_num")
        rows = postgres.ask(database, f"SELECT {column} FROM {table} ORDER BY 1")  # noqa: S608  names of tables of ours
        found += [f"{table}: {value}" for (value,) in rows]
    return found
