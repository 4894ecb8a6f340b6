"""The local stack as a whole: started, ended, described."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from local_stack.errors import ServiceError, StateFolderError
from local_stack.services import Service, Services, read_end
from local_stack.settings import read_base_environment
from local_stack.state import LOOPBACK, StateFolder
from local_stack.supervisor import ProgramState, Supervisor, find_processes

READY_SECONDS = 900
"""Longest wait for a service: a minute on two quiet cores, many on a machine that is shared."""

POLL_SECONDS = 0.5

Report = Callable[[str, float], None]
"""Takes what has become ready, and how many seconds that took."""


@dataclass(frozen=True, slots=True)
class Login:
    """What a person opens, and as whom."""

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

    def up(self, report: Report, *, with_parent: bool = False) -> None:
        """Starts what does not run, and waits until all of it is ready.

        Args:
            report: is told of each service that has become ready.
            with_parent: let everything end as soon as this process does, however that ends.

        Raises:
            LocalStackError: something cannot be started; what did start keeps running.
        """
        self.state.prepare()
        with self.state.locked():
            environment = read_base_environment()
            if not self._is_running():
                self._end_leftovers()
                services = Services(self.state, self.state.choose_ports(), environment)
                supervisor = self._supervisor()
                services.make_folders()
                with _reported("database folder", report):
                    services.make_database_folder()
                supervisor.write_configuration([service.program for service in services.list_all()])
                supervisor.start(environment, with_parent=with_parent)
                self._started = supervisor
            services = Services(self.state, self.state.read_ports(), environment)
            self._start(services, self._supervisor(), report)

    def down(self) -> None:
        """Ends every process of the stack; its data stays."""
        if self.state.env_file.is_file():
            with self.state.locked():
                self._supervisor().stop()

    def reset(self) -> None:
        """Ends the stack and deletes its folder with all data.

        Raises:
            StateFolderError: the folder is no local stack's.
        """
        if self.state.path.exists() and self.state.read_version() is None:
            raise StateFolderError(f"{self.state.path}: found no local stack in it, expected one; nothing was deleted")
        self.down()
        self.state.delete()

    def list_states(self) -> list[ProgramState]:
        """What each program does; empty if the stack does not run."""
        return self._supervisor().read_states() if self._is_running() else []

    def list_logins(self) -> list[Login]:
        """Where everything is, with users and passwords."""
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

    def _start(self, services: Services, supervisor: Supervisor, report: Report) -> None:
        """Starts in the order in which they need each other, two at a time."""
        with ThreadPoolExecutor(1) as pool:
            objects = pool.submit(self._start_one, services.objects(), supervisor, report)
            self._start_one(services.postgres(), supervisor, report)
            objects.result()
            if supervisor.read_state("mlflow").state == "STOPPED":
                self._make(services.make_databases, "databases", report)
                self._make(services.make_buckets, "buckets", report)
            mlflow = pool.submit(self._start_one, services.mlflow(), supervisor, report)
            if supervisor.read_state("airflow-apiserver").state == "STOPPED":
                self._make(services.prepare_airflow, "schemas", report)
            for service in services.airflow():
                self._start_one(service, supervisor, report)
            mlflow.result()
            self._start_one(services.serving(), supervisor, report)

    def _make(self, step: Callable[[], None], name: str, report: Report) -> None:
        with _reported(name, report):
            step()

    def _start_one(self, service: Service, supervisor: Supervisor, report: Report) -> None:
        name = service.program.name
        with _reported(name, report):
            supervisor.start_program(name)
            deadline = time.monotonic() + READY_SECONDS
            while not service.is_ready():
                state = supervisor.read_state(name).state
                if state in {"FATAL", "EXITED", "STOPPED"} or time.monotonic() > deadline:
                    end = read_end(self.state.logs / f"{name}.log")
                    raise ServiceError(f"{name}: expected it to become ready, found it {state.lower()}; {end}")
                time.sleep(POLL_SECONDS)

    def _supervisor(self) -> Supervisor:
        if self._started:
            return self._started
        settings = self.state.read_settings()
        port = int(settings.get("SUPERVISOR_PORT") or 0)
        return Supervisor(self.state.path, self.state.logs, port, settings["SUPERVISOR_PASSWORD"])

    def _is_running(self) -> bool:
        return self.state.pid_file.is_file() and self._supervisor().is_running()

    def _end_leftovers(self) -> None:
        """Processes that outlived a supervisor which was killed would hold ports and folders."""
        if find_processes(self.state.path):
            self._supervisor().stop()


@contextmanager
def _reported(name: str, report: Report) -> Iterator[None]:
    started = time.monotonic()
    yield
    report(name, time.monotonic() - started)
