"""The local stack as a whole: started, ended, described."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event

from mlops.errors import ServiceError, StateFolderError
from mlops.local import openmp
from mlops.local.ports import LOOPBACK, is_held_by
from mlops.local.services import Service, Services, read_end
from mlops.local.settings import read_base_environment
from mlops.local.state import StateFolder
from mlops.local.supervisor import ProgramState, Supervisor, find_processes

READY_SECONDS = 900
"""Longest wait for a service: it takes a minute on two idle cores, and many on a busy machine."""

POLL_SECONDS = 0.5

MAX_STARTS = 4
"""A program that ended this often before it was ready will not become ready."""

Report = Callable[[str, float], None]
"""Receives the name of a ready service and the seconds that its start took."""


@dataclass(frozen=True, slots=True)
class Login:
    """An address that a person opens, with user and password."""

    name: str
    url: str
    user: str | None = None
    password: str | None = None


class LocalStack:
    """The stack of one state folder.

    >>> LocalStack(StateFolder(Path(".local"))).up(lambda name, seconds: print(name, seconds))
    """

    def __init__(self, state: StateFolder) -> None:
        self.state = state
        self._started: Supervisor | None = None
        self._given_up = Event()

    @property
    def is_started_here(self) -> bool:
        """Whether this process started the stack."""
        return self._started is not None

    def up(self, report: Report, *, with_parent: bool = False, only_stores: bool = False) -> None:
        """Starts the missing programs, and waits until all are ready.

        Args:
            report: called with each service that has become ready.
            with_parent: ends the stack as soon as this process ends, even if it is killed.
            only_stores: starts Postgres and the object store alone.

        Raises:
            LocalStackError: a program cannot be started; the others keep running.
        """
        self.state.prepare()
        with self.state.locked():
            environment = self._read_environment()
            if not self._is_running():
                self._end_leftovers()
                services = Services(self.state, self.state.choose_ports(), environment)
                supervisor = self._started = self._supervisor()
                services.make_folders()
                with _reported("database folder", report):
                    services.make_database_folder()
                supervisor.write_configuration([service.program for service in services.list_all()])
                supervisor.start(environment, with_parent=with_parent)
            services = Services(self.state, self.state.read_ports(), environment)
            self._start(services, self._supervisor(), report, only_stores=only_stores)

    def wait(self) -> None:
        """Waits until another command ends the stack that was started here.

        Raises:
            ServiceError: its supervisor died.
        """
        if self._started is None:
            return
        if code := self._started.wait():
            raise ServiceError(
                f"supervisord: expected it to run until `mlops local down`, found that it ended with code {code}; "
                "`mlops local up` starts the stack again"
            )
        self._started = None

    def check(self) -> None:
        """Checks that the supervisor still watches the programs.

        Raises:
            ServiceError: the supervisor does not run.
        """
        if not self._is_running():
            raise ServiceError(
                "supervisord: expected it to run, found that it does not; `mlops local up` starts the stack again"
            )

    def down(self) -> None:
        """Ends every process of the stack; its data stays."""
        if self.state.env_file.is_file():
            with self.state.locked():
                self._supervisor().stop()
        elif find_processes(self.state.path):
            # The folder was deleted while the stack ran, and with it the supervisor's address.
            Supervisor(self.state.path, self.state.logs, 0, "").stop()

    def reset(self) -> None:
        """Ends the stack and deletes its folder with all data.

        Raises:
            StateFolderError: the folder does not belong to a local stack.
        """
        if self.state.path.exists() and self.state.read_version() is None:
            raise StateFolderError(f"{self.state.path}: expected a local stack, found none; nothing was deleted")
        self.down()
        self.state.delete()

    def list_states(self) -> list[ProgramState]:
        """The state of each program; empty if the stack does not run."""
        return self._supervisor().read_states() if self._is_running() else []

    def list_logins(self) -> list[Login]:
        """The address of each service, with user and password."""
        settings, ports = self.state.read_settings(), self.state.read_ports()
        url = {name: f"http://{LOOPBACK}:{port}" for name, port in ports.items()}
        return [
            Login("predictions", f"{url['serving']}/docs"),
            Login("Airflow", url["airflow"], settings["AIRFLOW_ADMIN_USERNAME"], settings["AIRFLOW_ADMIN_PASSWORD"]),
            Login("MLflow", url["mlflow"], settings["MLFLOW_ADMIN_USERNAME"], settings["MLFLOW_ADMIN_PASSWORD"]),
            Login("S3", url["objects"], settings["MINIO_ROOT_USER"], settings["MINIO_ROOT_PASSWORD"]),
            Login(
                "Postgres",
                f"{LOOPBACK}:{ports['postgres']}/warehouse",
                "warehouse",
                settings["WAREHOUSE_DB_PASSWORD"],
            ),
        ]

    def _start(self, services: Services, supervisor: Supervisor, report: Report, *, only_stores: bool) -> None:
        """Starts each service after those that it needs, two at a time."""
        with ThreadPoolExecutor(1) as pool, self._given_up_on_an_error():
            objects = pool.submit(self._start_one, services.objects(), supervisor, report)
            self._start_one(services.postgres(), supervisor, report)
            objects.result()
            if supervisor.read_state("mlflow").state == "STOPPED":
                self._make(services.make_databases, "databases", report)
                self._make(services.make_buckets, "buckets", report)
            if only_stores:
                return
            mlflow = pool.submit(self._start_one, services.mlflow(), supervisor, report)
            if supervisor.read_state("airflow-apiserver").state == "STOPPED":
                self._make(services.prepare_airflow, "schemas", report)
            for service in services.airflow():
                self._start_one(service, supervisor, report)
            mlflow.result()
            self._start_one(services.serving(), supervisor, report)

    def _read_environment(self) -> dict[str, str]:
        """The environment that every process starts from."""
        environment, libraries = read_base_environment(), self.state.path / "lib"
        if not openmp.is_installed() and openmp.link_bundled(libraries):
            environment["LD_LIBRARY_PATH"] = f"{libraries}:{environment.get('LD_LIBRARY_PATH', '')}".rstrip(":")
        return environment

    def _make(self, step: Callable[[], None], name: str, report: Report) -> None:
        with _reported(name, report):
            step()

    def _start_one(self, service: Service, supervisor: Supervisor, report: Report) -> None:
        name = service.program.name
        with _reported(name, report):
            supervisor.start_program(name)
            deadline, starts = time.monotonic() + READY_SECONDS, set[int]()
            while not self._given_up.is_set():
                found = supervisor.read_state(name)
                # Another program at its port may answer, and would learn its password.
                is_there = service.port is None or (found.process_id and is_held_by(service.port, found.process_id))
                if is_there and service.is_ready():
                    break
                starts |= {found.process_id} - {0}
                is_hopeless = found.state in {"FATAL", "EXITED", "STOPPED"} or len(starts) >= MAX_STARTS
                if is_hopeless or time.monotonic() > deadline:
                    end = read_end(self.state.logs / f"{name}.log")
                    raise ServiceError(f"{name}: expected it to become ready, found it {found.state.lower()}; {end}")
                time.sleep(POLL_SECONDS)

    @contextmanager
    def _given_up_on_an_error(self) -> Iterator[None]:
        """Stops the other thread's wait after an error or Ctrl-C."""
        try:
            yield
        except BaseException:
            self._given_up.set()
            raise

    def _supervisor(self) -> Supervisor:
        if self._started:
            return self._started
        settings = self.state.read_settings()
        port = self.state.read_ports()["supervisor"]
        return Supervisor(self.state.path, self.state.logs, port, settings["SUPERVISOR_PASSWORD"])

    def _is_running(self) -> bool:
        return self.state.pid_file.is_file() and self._supervisor().is_running()

    def _end_leftovers(self) -> None:
        """Ends the processes of a killed supervisor, which would hold ports and folders."""
        if find_processes(self.state.path):
            self._supervisor().stop()


@contextmanager
def _reported(name: str, report: Report) -> Iterator[None]:
    started = time.monotonic()
    yield
    report(name, time.monotonic() - started)
