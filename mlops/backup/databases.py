"""Postgres by its own programs: dumps, restores, and questions of its superuser."""

from __future__ import annotations

import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from mlops.errors import BackupError

DATABASES = ("warehouse", "airflow", "mlflow")
"""In the order of their dumps: a row may name what a later dump holds, and never the other way round."""

GUARDED = ("SET search_path = pg_catalog", "SET restrict_nonsystem_relation_kind = 'view, foreign-table'")
"""Run before each statement of `ask`: names without a schema are then those of Postgres, and views are refused.

The triggers of a table still run where a statement changes its rows.
"""

OWNERS: Mapping[str, Sequence[str]] = {
    "warehouse": ("warehouse_owner", "warehouse"),
    "airflow": ("airflow",),
    "mlflow": ("mlflow",),
}
"""The roles that own something in a database; the first one owns the database."""

WITH_PASSWORD = 'IFS= read -r PGPASSWORD; export PGPASSWORD; exec "$@"'  # noqa: S105  a program
"""Runs a program of Postgres with the password of its first line: an argument would show in every process list."""


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

    def restore(self, database: str, file: Path, password: str, *, with_roles: bool = True) -> None:
        """Restores a dump into an empty database as the role of its name, all of it or none.

        Raises:
            BackupError: the dump cannot be read, or the server refuses a part of it.
        """
        options = ["--exit-on-error", "--single-transaction", f"--dbname={database}", "--host=127.0.0.1"]
        options += [] if with_roles else ["--no-owner", "--no-privileges"]
        with file.open("rb") as source:
            self._run("pg_restore", options, role=database, password=password, stdin=source)

    @contextmanager
    def restorer(self, name: str, *members: str) -> Iterator[str]:
        """A role for a restore alone, with the rights of others; yields its password.

        The constraints of a table run functions, which a task may have made. As the superuser's they could do anything.

        Raises:
            BackupError: the server refuses.
        """
        password = secrets.token_hex(16)
        for kind in ("DATABASE", "ROLE"):
            self.ask("postgres", f"DROP {kind} IF EXISTS {name}")
        told = f"CREATE ROLE {name} LOGIN PASSWORD '{password}' IN ROLE {', '.join(members)}".removesuffix(" IN ROLE ")
        self._run("psql", ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname=postgres"], input=told.encode())
        with self._ending(f"ALTER ROLE {name} NOLOGIN"):
            yield password

    def replace(self, database: str, file: Path) -> None:
        """Replaces a database by a dump; at each moment there is the old one or the whole new one.

        Raises:
            BackupError: as for `restore`.
        """
        restored, replaced = f"{database}_restored", f"{database}_replaced"
        for name in (restored, replaced):
            self.ask("postgres", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        owner, *others = OWNERS[database]
        with self.restorer(restored, owner, *others) as password:
            self.ask("postgres", f"CREATE DATABASE {restored} OWNER {owner} TEMPLATE template0")
            for other in others:
                self.ask("postgres", f"GRANT CREATE ON DATABASE {restored} TO {other}")
            self.restore(restored, file, password)
        self.ask(restored, f"REASSIGN OWNED BY {restored} TO {owner}; DROP OWNED BY {restored}")
        self.ask("postgres", f"DROP ROLE {restored}")
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
        with self._ending(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"DROP ROLE IF EXISTS {name}"):
            with self.restorer(name) as password:
                self.ask("postgres", f"CREATE DATABASE {name} OWNER {name} TEMPLATE template0")
                self.restore(name, file, password, with_roles=False)
            yield name

    @contextmanager
    def _ending(self, *statements: str) -> Iterator[None]:
        """Runs statements at the end; an error before them is not hidden by one of theirs."""
        hidden: tuple[type[BackupError], ...] = (BackupError,)
        try:
            yield
            hidden = ()
        finally:
            with suppress(*hidden):
                for statement in statements:
                    self.ask("postgres", statement)

    def ask(self, database: str, statement: str) -> list[list[str]]:
        """Runs a statement as the superuser, behind those of `GUARDED`, and returns the rows as texts.

        The statement must name each table with its schema, and change rows only where no task can make triggers.

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

    def _run(self, program: str, options: Sequence[str], *, role: str = "postgres", **streams: Any) -> bytes:
        return self._call([f"{self.programs}{program}", f"--username={role}", *options], **streams)

    def _call(self, command: Sequence[str], password: str = "", **streams: Any) -> bytes:
        called = [*self.launcher, *(["sh", "-c", WITH_PASSWORD, "sh"] if password else []), *command]
        place: dict[str, Any] = {"env": dict(self.environment) or None, "cwd": self.folder}
        if password:
            done = _feed(called, f"{password}\n".encode(), streams["stdin"], place)
        else:
            if "input" not in streams:
                streams = {"stdin": subprocess.DEVNULL, **streams}
            streams = {"stdout": subprocess.PIPE, **streams}
            done = subprocess.run(called, **place, stderr=subprocess.PIPE, check=False, **streams)
        if done.returncode != 0:
            said = re.sub(r"\s+", " ", done.stderr.decode(errors="replace")).strip()
            program = command[0].rpartition("/")[2]
            raise BackupError(
                f"{program}: expected exit code 0, found {done.returncode}: {said[-600:]}; is Postgres up, and does "
                "the disk have room?"
            )
        return done.stdout or b""


def _feed(
    command: Sequence[str], head: bytes, source: BinaryIO, place: Mapping[str, Any]
) -> subprocess.CompletedProcess[bytes]:
    """Runs a command whose input is a head and a file behind it."""
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, **place, **pipes) as process:
        assert process.stdin is not None  # noqa: S101  a pipe
        with suppress(BrokenPipeError):  # it has ended, and its own words say why
            process.stdin.write(head)
            shutil.copyfileobj(source, process.stdin)
        found = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, *found)
