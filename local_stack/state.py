"""The folder that keeps all of a local stack: its settings, data, logs and, while it runs, its supervisor's pid."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

from local_stack.errors import PortError, StateFolderError
from local_stack.settings import REPOSITORY, read_asked_ports

VERSION = "1"
"""Raised when a folder of before can no longer be used, such as with another major version of Postgres."""

MIN_FREE_MB = 500
"""A stack that has gone once around the loop takes a fifth of it."""

LOOPBACK = "127.0.0.1"
LARGEST_PORT = 65535

PORTS = {
    "postgres": "POSTGRES_PORT",
    "objects": "MINIO_PORT",
    "mlflow": "MLFLOW_PORT",
    "airflow": "AIRFLOW_PORT",
    "serving": "GATEWAY_PORT",
    "supervisor": "SUPERVISOR_PORT",
    "scheduler health": "SCHEDULER_HEALTH_PORT",
    "task logs": "TASK_LOG_PORT",
    "trigger logs": "TRIGGER_LOG_PORT",
}
"""What listens, and the variable of its port: those that people open are named as in .env."""


@dataclass(frozen=True, slots=True)
class StateFolder:
    """A folder, by default `.local` of the repository; nothing of a local stack lies outside of it.

    >>> StateFolder(Path(".local")).logs
    PosixPath('.local/logs')
    """

    path: Path = REPOSITORY / ".local"

    @property
    def env_file(self) -> Path:
        """Secrets and ports, in the form of .env."""
        return self.path / "env"

    @property
    def logs(self) -> Path:
        """One file for each service."""
        return self.path / "logs"

    @property
    def pid_file(self) -> Path:
        """The supervisor's, which it deletes when it ends."""
        return self.path / "supervisord.pid"

    def prepare(self) -> None:
        """Makes the folder and its settings, unless they are there.

        Raises:
            StateFolderError: it cannot be written, holds something else, or an older version of this project made it.
            StateFolderError: another command is at work on it.
        """
        try:
            if self.read_version() is None and self.path.is_dir() and any(self.path.iterdir()):
                raise StateFolderError(
                    f"{self.path}: expected a folder of its own, found other files in it; `--state DIR` takes another"
                )
            self.path.mkdir(parents=True, exist_ok=True)
            if (found := self.read_version()) not in {None, VERSION}:
                raise StateFolderError(
                    f"{self.path}: found version {found} of a local stack, expected {VERSION}; "
                    "`mlops local reset` deletes it and its data"
                )
            self._check_space()
            # Beside the settings, some programs write passwords into files of their own.
            self.path.chmod(0o700)
            self._version_file.write_text(f"{VERSION}\n")
            self.logs.mkdir(exist_ok=True)
            with self.locked():
                command = [REPOSITORY / "docker/env.sh", self.env_file.resolve()]
                subprocess.run(command, check=True, capture_output=True, text=True)
                if "SUPERVISOR_PASSWORD" not in self.read_settings():
                    self._write_down({"SUPERVISOR_PASSWORD": secrets.token_hex(16)})
        except subprocess.CalledProcessError as error:
            raise StateFolderError(f"{self.env_file}: could not be written: {error.stderr.strip()}") from error
        except OSError as error:
            raise StateFolderError(
                f"{self.path}: expected a folder that can be written, found: {error.strerror}; "
                "`--state DIR` takes another one"
            ) from error

    def read_version(self) -> str | None:
        """Which version of this project made the folder; None if it is no local stack's."""
        return self._version_file.read_text().strip() if self._version_file.is_file() else None

    def read_settings(self) -> dict[str, str]:
        """Everything that `env` sets, by its name in .env.

        Raises:
            StateFolderError: there is no such file.
        """
        if not self.env_file.is_file():
            raise StateFolderError(f"{self.path}: found no local stack; `mlops local up` makes one")
        return {name: value or "" for name, value in dotenv_values(self.env_file, interpolate=False).items()}

    def choose_ports(self) -> dict[str, int]:
        """Finds a free port for each service and writes it down: the one of last time, if it is free.

        Raises:
            PortError: the environment asks for one that is taken, or is none.
        """
        asked, before, chosen = read_asked_ports(PORTS), self.read_settings(), dict[str, int]()
        # What is asked for comes before what another service had last time.
        for service in sorted(PORTS, key=lambda service: service not in asked):
            if service in asked:
                _refuse_port(PORTS[service], asked[service], taken=chosen.values())
            wanted = asked.get(service) or _read_port(before.get(PORTS[service], ""))
            free = wanted and wanted not in chosen.values() and _is_free(wanted)
            chosen[service] = wanted if free else _find_free_port(set(chosen.values()))
        self._write_down({PORTS[service]: str(port) for service, port in chosen.items()})
        return chosen

    def read_ports(self) -> dict[str, int]:
        """The ports that were chosen last."""
        settings = self.read_settings()
        return {service: _read_port(settings.get(name, "")) for service, name in PORTS.items()}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lets one command at a time change the stack.

        Raises:
            StateFolderError: another command is at it.
        """
        with (self.path / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StateFolderError(
                    f"{self.path}: another `mlops local` or `mlops demo` is at work on it; wait until it has ended"
                ) from error
            yield

    def delete(self) -> None:
        """Deletes the folder with all data."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self.path.exists():
            raise StateFolderError(f"{self.path}: could not be deleted whole; delete it by hand")

    @property
    def _version_file(self) -> Path:
        """What tells this folder from any other, which `reset` must not delete."""
        return self.path / "mlops-local-stack"

    def _check_space(self) -> None:
        free_mb = shutil.disk_usage(self.path).free / 1e6
        if free_mb < MIN_FREE_MB:
            raise StateFolderError(
                f"{self.path}: expected at least {MIN_FREE_MB} MB free, found {free_mb:.0f}; "
                "free some, or `--state DIR` takes another disk"
            )

    def _write_down(self, values: Mapping[str, str]) -> None:
        lines = [line for line in self.env_file.read_text().splitlines() if line.partition("=")[0] not in values]
        partial = self.env_file.with_name("env.partial")
        partial.touch(mode=0o600)
        partial.write_text("\n".join([*lines, *(f"{name}={value}" for name, value in values.items())]) + "\n")
        os.replace(partial, self.env_file)


def read_airflow(env_file: Path) -> tuple[str, str, str]:
    """Address, user and password of Airflow, from the settings of a stack on this machine.

    Raises:
        StateFolderError: the file is not there, or has no password.
    """
    found = dotenv_values(env_file, interpolate=False) if env_file.is_file() else {}
    password = found.get("AIRFLOW_ADMIN_PASSWORD")
    if not password:
        raise StateFolderError(
            f"{env_file}: expected the settings of a stack, found no AIRFLOW_ADMIN_PASSWORD; "
            "`make up` or `mlops local up` makes one"
        )
    url = f"http://{LOOPBACK}:{found.get('AIRFLOW_PORT') or 8080}"
    return url, found.get("AIRFLOW_ADMIN_USERNAME") or "admin", password


def _refuse_port(name: str, port: int, *, taken: Collection[int]) -> None:
    way_out = "set another one, or none to have a free one chosen"
    if not 0 < port <= LARGEST_PORT:
        raise PortError(f"{name}: expected a port from 1 to {LARGEST_PORT}, found {port}; {way_out}")
    if port in taken:
        raise PortError(f"{name}: expected a port of its own, found {port} asked for twice; {way_out}")
    if not _is_free(port):
        raise PortError(f"{name}: expected port {port} to be free, found a program that listens; {way_out}")


def _read_port(text: str) -> int:
    """A port as the settings have it; 0 where a person has made something else of it."""
    return int(text) if text.isdecimal() and int(text) <= LARGEST_PORT else 0


def _is_free(port: int) -> bool:
    """Whether nothing listens there; a port that was closed a moment ago counts as free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def _find_free_port(taken: set[int]) -> int:
    while True:
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port = int(probe.getsockname()[1])
        if port not in taken:
            return port
