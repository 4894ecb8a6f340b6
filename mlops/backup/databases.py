"""Postgres by its own programs: dumps, restores, and questions of its superuser."""

from __future__ import annotations

import re
import secrets
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlops.errors import BackupError

DATABASES = ("warehouse", "airflow", "mlflow")
"""In the order of their dumps: a row may name what a later dump holds, and never the other way round."""

GUARDED = ("SET search_path = pg_catalog", "SET restrict_nonsystem_relation_kind = 'view, foreign-table'")
"""Begins each session of the superuser, who would otherwise run functions and views that the roles have made."""

OWNERS: Mapping[str, str] = {"warehouse": "warehouse_owner", "airflow": "airflow", "mlflow": "mlflow"}


@dataclass(frozen=True, slots=True)
class Postgres:
    """A server; `launcher` begins each command, such as `docker compose exec -T postgres`.

    >>> Postgres(["docker", "compose", "exec", "-T", "postgres"], {}).dump("mlflow", Path("mlflow.dump"))
    """

    launcher: Sequence[str]
    environment: Mapping[str, str]
    folder: Path | None = None
    programs: str = ""

    def dump(self, database: str, file: Path) -> None:
        """Dumps a database, at one moment, and reads the dump to its end.

        Raises:
            BackupError: the server refuses, or the dump cannot be read.
        """
        with file.open("wb") as target:
            self._run("pg_dump", ["--format=custom", f"--dbname={database}"], stdout=target)
        self.read_through(file)

    def read_through(self, file: Path) -> None:
        """Reads a dump to its end without a database.

        Raises:
            BackupError: it is truncated or not a dump, or a newer Postgres made it.
        """
        with file.open("rb") as source:
            self._run("pg_restore", ["--file=/dev/null"], stdin=source)

    def restore(self, database: str, file: Path, *, with_roles: bool = True) -> None:
        """Restores a dump into an empty database, all of it or none.

        Raises:
            BackupError: the dump cannot be read, or the server refuses a part of it.
        """
        options = ["--exit-on-error", "--single-transaction", f"--dbname={database}"]
        options += [] if with_roles else ["--no-owner", "--no-privileges"]
        with file.open("rb") as source:
            self._run("pg_restore", options, stdin=source)

    def replace(self, database: str, file: Path) -> None:
        """Replaces a database by a dump; at each moment there is the old one or the whole new one.

        Raises:
            BackupError: as for `restore`.
        """
        restored, replaced = f"{database}_restored", f"{database}_replaced"
        for name in (restored, replaced):
            self.ask("postgres", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        self.ask("postgres", f"CREATE DATABASE {restored} OWNER {OWNERS[database]} TEMPLATE template0")
        self.restore(restored, file)
        moves = [f"ALTER DATABASE {restored} RENAME TO {database}"]
        if self.has_database(database):
            end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"  # noqa: S608  ours
            moves = [end, f"ALTER DATABASE {database} RENAME TO {replaced}", *moves]
        self.ask("postgres", "; ".join(moves))  # one transaction
        self.ask("postgres", f"DROP DATABASE IF EXISTS {replaced} WITH (FORCE)")

    @contextmanager
    def scratch(self, database: str, file: Path) -> Iterator[str]:
        """Restores a dump into a database of its own, and drops it at the end.

        Raises:
            BackupError: as for `restore`.
        """
        name = f"verify_{database}_{secrets.token_hex(4)}"
        self.ask("postgres", f"CREATE DATABASE {name} TEMPLATE template0")
        try:
            self.restore(name, file, with_roles=False)
            yield name
        finally:
            self.ask("postgres", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def ask(self, database: str, statement: str) -> list[list[str]]:
        """Runs a statement as the superuser, and returns the rows as texts.

        It names each table with its schema, and reads no view.

        Raises:
            BackupError: the server refuses.
        """
        options = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--no-align", "--tuples-only"]
        options += ["--field-separator=\t", f"--dbname={database}"]
        options += [f"--command={text}" for text in (*GUARDED, statement)]
        found = self._run("psql", options).decode()
        return [line.split("\t") for line in found.splitlines()]

    def has_database(self, database: str) -> bool:
        """Whether there is a database of a name."""
        return [database] in self.ask("postgres", "SELECT datname FROM pg_database")

    def read_version(self) -> str:
        """The major version of the server."""
        return str(int(self.ask("postgres", "SHOW server_version_num")[0][0]) // 10_000)

    def _run(self, program: str, options: Sequence[str], **streams: object) -> bytes:
        command = [*self.launcher, f"{self.programs}{program}", "--username=postgres", *options]
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, **streams}
        done = subprocess.run(  # type: ignore[call-overload]
            command, env=dict(self.environment) or None, cwd=self.folder, stderr=subprocess.PIPE, check=False, **streams
        )
        if done.returncode != 0:
            said = re.sub(r"\s+", " ", done.stderr.decode(errors="replace")).strip()
            raise BackupError(
                f"{program}: expected exit code 0, found {done.returncode}: {said[-600:]}; is Postgres up, and does "
                "the disk have room?"
            )
        return done.stdout or b""
