"""The stack that is backed up or restored: its servers, its settings, and how it is stopped and started."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import SecretStr

from ml_code.settings import Settings
from ml_code.storage import Storage
from ml_code.warehouse import Warehouse
from mlops.backup.databases import Postgres
from mlops.compose import ComposeProject, name_compose
from mlops.errors import BackupError, EngineError
from mlops.host import describe_database, load_stack_settings, read_env_file

IDENTITY = ("AIRFLOW_FERNET_KEY", "GATE_SIGNING_KEY", "UNIT_HASH_KEY")
"""Secrets without which restored data is worthless: connections, signed decisions and users cannot be read."""

SECRET_FILES = ("docker/nginx/secrets/*", "docker/nginx/authority/*")
"""Tokens and certificates of the gateway, beside the settings."""

CATALOG = "ml_code/catalog"


class Operator(Protocol):
    """Stops and starts the parts of a stack."""

    def open_stores(self) -> None:
        """Leaves nothing running but Postgres and the object store, with their roles and buckets."""

    def prepare_databases(self) -> None:
        """Sets the owners and rights of databases that were replaced."""

    def start(self) -> None:
        """Migrates what is older, starts everything and waits until it is healthy."""


@dataclass(frozen=True, slots=True)
class Site:
    """One stack. `reader` is its store by the key of backups, `writer` by the one that may write everywhere."""

    env_file: Path
    checkout: Path
    postgres: Postgres
    reader: Storage
    writer: Storage
    locks: Sequence[Warehouse]
    operator: Operator

    @property
    def marker(self) -> Path:
        """The file that says which set is being restored, as long as it is."""
        return self.env_file.with_name(".mlops-restore")

    def list_secret_files(self) -> dict[str, bytes]:
        """The settings, and the files with secrets beside them, by their names in the checkout."""
        files = [path for pattern in SECRET_FILES for path in sorted(self.checkout.glob(pattern)) if path.is_file()]
        found = {str(path.relative_to(self.checkout)): path.read_bytes() for path in files if path.name != ".gitignore"}
        return {"env": self.env_file.read_bytes(), **found}


class ComposeOperator:
    """The compose project of a checkout."""

    def __init__(self, project: ComposeProject) -> None:
        self._project = project

    def open_stores(self) -> None:
        """Ends the containers, builds what is missing, and starts both servers and the jobs that prepare them."""
        # Nothing is kept that the services could still write, so none gets the time to end well.
        self._compose("down", "--remove-orphans", "--timeout", "10")
        self._compose("up", "--detach", "--wait", "--build", "postgres", "minio")
        for job in ("database-init", "storage-users", "storage-init"):
            self._compose("run", "--rm", "-T", "--no-deps", job)

    def prepare_databases(self) -> None:
        """Runs the job that makes roles and databases."""
        self._compose("run", "--rm", "-T", "--no-deps", "database-init")

    def start(self) -> None:
        """Starts everything; the first services migrate."""
        self._compose("up", "--detach", "--wait", "--build", "--remove-orphans")

    def _compose(self, *arguments: str) -> None:
        try:
            self._project.compose(*arguments)
        except EngineError as error:
            raise BackupError(f"{error}. Then repeat the restore, which goes on") from error


def describe_identity(values: Mapping[str, str]) -> dict[str, str]:
    """Fingerprints of the secrets by which one installation differs from another; the keys are random and long."""
    return {name: hashlib.sha256(f"{name}={values.get(name, '')}".encode()).hexdigest()[:16] for name in IDENTITY}


def open_compose_site(env_file: Path) -> Site:
    """The compose project of a file of settings.

    Raises:
        SettingsError: the file is missing, or lacks a value.
    """
    project = ComposeProject(env_file)
    postgres = Postgres(("docker", *name_compose(env_file), "exec", "-T", "postgres"), {}, project.checkout)
    return make_site(env_file, project.checkout, postgres, ComposeOperator(project))


def make_site(env_file: Path, checkout: Path, postgres: Postgres, operator: Operator) -> Site:
    """A stack by its settings."""
    settings, values = load_stack_settings(env_file), read_env_file(env_file, interpolate=True)
    return Site(
        env_file,
        checkout,
        postgres,
        Storage(_with_key(settings, values, "S3_BACKUP")),
        Storage(_with_key(settings, values, "MINIO_ROOT")),
        # Advisory locks are those of one database: housekeeping deletes under that of the warehouse, MLflow's
        # collection of garbage under that of its own.
        [Warehouse(describe_database(values, name)) for name in ("warehouse", "mlflow")],
        operator,
    )


def _with_key(settings: Settings, values: Mapping[str, str], name: str) -> Settings:
    user, password = values.get(f"{name}_USER"), values.get(f"{name}_PASSWORD")
    if not user or not password:
        raise BackupError(
            f"settings: expected {name}_USER and {name}_PASSWORD, found none; `make env` adds what an older .env lacks"
        )
    return settings.model_copy(update={"s3_access_key": user, "s3_secret_key": SecretStr(password)})
