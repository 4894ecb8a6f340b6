"""The folder of a local stack: settings, data, logs and, while the stack runs, the supervisor's process id."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlops.errors import StateFolderError
from mlops.host import read_env_file
from mlops.local.ports import LOOPBACK, find_free_port, is_free, read_port, refuse_port
from mlops.local.settings import REPOSITORY, read_asked_ports

VERSION = "1"
"""Increase it when older folders become unusable, such as with another major version of Postgres."""

MIN_FREE_MB = 500
"""A stack that has gone round the loop once takes a fifth of it."""

PORTS = {
    "postgres": "POSTGRES_PORT",
    "objects": "MINIO_PORT",
    "mlflow": "MLFLOW_PORT",
    "airflow": "AIRFLOW_PORT",
    "serving": "GATEWAY_PORT",
    "supervisor": "SUPERVISOR_PORT",
    "scheduler health": "SCHEDULER_HEALTH_PORT",
}
"""The variable of each listening port; the ports that people open have their names of .env."""


@dataclass(frozen=True, slots=True)
class StateFolder:
    """The folder of a local stack, by default `.local` of the repository; nothing of the stack lies outside.

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
        """The folder of the logs, one file for each service."""
        return self.path / "logs"

    @property
    def pid_file(self) -> Path:
        """The supervisor's file, which it deletes when it ends."""
        return self.path / "supervisord.pid"

    def prepare(self) -> None:
        """Makes the folder and its settings, unless they exist.

        Raises:
            StateFolderError: the folder cannot be written, has other files, or is of another version of this project.
            StateFolderError: another command works on the folder.
        """
        try:
            if self.read_version() is None and self.path.is_dir() and any(self.path.iterdir()):
                raise StateFolderError(
                    f"{self.path}: expected a folder of its own, found other files; choose another with `--state DIR`"
                )
            self.path.mkdir(parents=True, exist_ok=True)
            if (found := self.read_version()) not in {None, VERSION}:
                raise StateFolderError(
                    f"{self.path}: found version {found} of a local stack, expected {VERSION}; "
                    "`mlops local reset` deletes it and its data"
                )
            self._check_space()
            # Not only the settings hold passwords: some programs write them into other files.
            self.path.chmod(0o700)
            self._version_file.write_text(f"{VERSION}\n")
            self.logs.mkdir(exist_ok=True)
            with self.locked():
                command = [REPOSITORY / "docker/bin/env.sh", self.env_file.resolve()]
                subprocess.run(command, check=True, capture_output=True, text=True)
                if "SUPERVISOR_PASSWORD" not in self.read_settings():
                    self._write_down({"SUPERVISOR_PASSWORD": secrets.token_hex(16)})
        except subprocess.CalledProcessError as error:
            raise StateFolderError(f"{self.env_file}: could not be written: {error.stderr.strip()}") from error
        except OSError as error:
            raise StateFolderError(
                f"{self.path}: expected a folder that can be written, found: {error.strerror}; "
                "choose another with `--state DIR`"
            ) from error

    def claim(self) -> None:
        """Makes an empty folder that of a local stack, before the settings of a backup are put there."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._version_file.write_text(f"{VERSION}\n")

    def read_version(self) -> str | None:
        """The version of the folder's layout; None if it does not belong to a local stack."""
        return self._version_file.read_text().strip() if self._version_file.is_file() else None

    def read_settings(self) -> dict[str, str]:
        """Everything that `env` sets, by its name in .env.

        Raises:
            StateFolderError: the file does not exist.
        """
        if not self.env_file.is_file():
            raise StateFolderError(f"{self.path}: found no local stack; `mlops local up` makes one")
        return read_env_file(self.env_file)

    def choose_ports(self) -> dict[str, int]:
        """Chooses a port for each service and stores it: the last one if it is free, otherwise any free port.

        Raises:
            PortError: the environment requests a taken port, or a text that is not a port.
        """
        asked, before, chosen = read_asked_ports(PORTS), self.read_settings(), dict[str, int]()
        # A requested port takes precedence over another service's last one.
        for service in sorted(PORTS, key=lambda service: service not in asked):
            if service in asked:
                refuse_port(PORTS[service], asked[service], taken=chosen.values())
            wanted = read_port(asked.get(service) or before.get(PORTS[service], ""))
            free = wanted and wanted not in chosen.values() and is_free(wanted)
            chosen[service] = wanted if free else find_free_port(chosen.values())
        self._write_down({PORTS[service]: str(port) for service, port in chosen.items()})
        return chosen

    def read_ports(self) -> dict[str, int]:
        """The stored ports."""
        settings = self.read_settings()
        return {service: read_port(settings.get(name, "")) for service, name in PORTS.items()}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the lock that allows one command at a time to change the stack.

        Raises:
            StateFolderError: another command holds the lock.
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
            raise StateFolderError(f"{self.path}: could not be deleted completely; delete it by hand")

    @property
    def _version_file(self) -> Path:
        """The file that marks a local stack's folder: `reset` must not delete any other folder."""
        return self.path / "mlops-local-stack"

    def _check_space(self) -> None:
        free_mb = shutil.disk_usage(self.path).free / 1e6
        if free_mb < MIN_FREE_MB:
            raise StateFolderError(
                f"{self.path}: expected at least {MIN_FREE_MB} MB free, found {free_mb:.0f}; "
                "free some space, or choose another disk with `--state DIR`"
            )

    def _write_down(self, values: Mapping[str, str]) -> None:
        lines = [line for line in self.env_file.read_text().splitlines() if line.partition("=")[0] not in values]
        partial = self.env_file.with_name("env.partial")
        partial.touch(mode=0o600)
        partial.write_text("\n".join([*lines, *(f"{name}={value}" for name, value in values.items())]) + "\n")
        os.replace(partial, self.env_file)


@dataclass(frozen=True, slots=True)
class AirflowLogin:
    """Where Airflow is, and who may do what there."""

    url: str
    username: str
    password: str


def read_airflow(env_file: Path) -> AirflowLogin:
    """The login of Airflow, from the settings of a stack on this machine.

    Raises:
        StateFolderError: the file does not exist, or has no password.
    """
    found = read_env_file(env_file) if env_file.is_file() else {}
    password = found.get("AIRFLOW_ADMIN_PASSWORD")
    if not password:
        raise StateFolderError(
            f"{env_file}: expected the settings of a stack, found no AIRFLOW_ADMIN_PASSWORD; "
            "`make up` or `mlops local up` makes one"
        )
    url = f"http://{LOOPBACK}:{found.get('AIRFLOW_PORT') or 8080}"
    return AirflowLogin(url, found.get("AIRFLOW_ADMIN_USERNAME") or "admin", password)
