"""The stack without Docker, as one that is backed up or restored."""

from __future__ import annotations

from pathlib import Path

from mlops.backup.databases import Postgres
from mlops.backup.site import Site, make_site
from mlops.host import read_env_file
from mlops.local.ports import find_socket_folder
from mlops.local.services import find_postgres_programs
from mlops.local.settings import REPOSITORY
from mlops.local.stack import LocalStack
from mlops.local.state import StateFolder


class LocalOperator:
    """The programs of a state folder."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack

    def open_stores(self) -> None:
        """Ends the programs, and starts both servers."""
        self._stack.down()
        self._stack.up(_ignore, only_stores=True)

    def prepare_databases(self) -> None:
        """Forgets that the databases were prepared: the next start does it again."""
        (self._stack.state.path / "airflow/prepared").unlink(missing_ok=True)

    def start(self) -> None:
        """Sets owners and rights, migrates, and starts everything."""
        self._stack.up(_ignore)


def is_local(env_file: Path) -> bool:
    """Whether a file of settings is that of a stack without Docker, also if it is lost."""
    return env_file.name == "env"


def claim_folder(env_file: Path) -> Path:
    """Makes the state folder of a lost stack, and returns the checkout that its programs come from."""
    StateFolder(env_file.resolve().parent).claim()
    return REPOSITORY


def open_local_site(env_file: Path) -> Site:
    """The stack of a state folder, by its file of settings.

    Raises:
        SettingsError: the file is missing, or lacks a value.
    """
    state, values = StateFolder(env_file.resolve().parent), read_env_file(env_file)
    environment = {
        "PGHOST": str(find_socket_folder(state.path / "postgres")),
        "PGPORT": values.get("POSTGRES_PORT", "5432"),
        "PGPASSWORD": values.get("POSTGRES_PASSWORD", ""),
    }
    postgres = Postgres((), environment, programs=f"{find_postgres_programs()}/")
    return make_site(env_file, REPOSITORY, postgres, LocalOperator(LocalStack(state)))


def _ignore(_: str, __: float) -> None:
    """Reports nothing: the restore names its own steps."""
