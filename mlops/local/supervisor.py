"""supervisord: starts, watches and ends the processes (http://supervisord.org)."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import time
import xmlrpc.client
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import psutil

from mlops.errors import ServiceError
from mlops.local.settings import PROGRAMS

MARK = "LOCAL_STACK_STATE"
"""The variable with the state folder in each process of a stack, by which the process is found."""

_START_SECONDS = 60
_START_RETRIES = 12
"""Each wait is a second longer: enough for a restart of a killed database, which takes up to a minute."""
_STOP_SECONDS = 150
"""Enough time for a running task to end."""
_END_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Program:
    """A process that supervisord keeps running."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    stop_signal: str = "TERM"
    stop_seconds: int = 20
    has_helpers: bool = False
    """Whether it starts processes that do not end with it: they get the stop signal as well."""


@dataclass(frozen=True, slots=True)
class ProgramState:
    """A program as supervisord reports it; `state` is its word, such as RUNNING, BACKOFF or FATAL."""

    name: str
    state: str
    process_id: int
    seconds: int
    """Seconds since the start of the process."""


class Supervisor:
    """One supervisord with its configuration, reached on loopback with a password."""

    def __init__(self, folder: Path, logs: Path, port: int, password: str) -> None:
        self._folder = _check_folder(folder)
        self._logs = logs
        self._port = port
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None

    def write_configuration(self, programs: Sequence[Program]) -> None:
        """Writes the programs in the order of their dependencies; none starts automatically."""
        file = self._folder / "supervisord.conf"
        file.touch(mode=0o600)
        head = f"""\
[supervisord]
nodaemon=true
pidfile={_quote_value(self._folder / "supervisord.pid")}
logfile={_quote_value(self._logs / "supervisord.log")}
logfile_maxbytes=1MB
logfile_backups=1

[inet_http_server]
port=127.0.0.1:{self._port}
username=local
password={_quote_value(self._password)}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
        file.write_text("\n".join([head, *(self._describe(program, rank) for rank, program in enumerate(programs))]))

    def start(self, environment: Mapping[str, str], *, with_parent: bool) -> None:
        """Starts supervisord, in a session of its own so that a closed terminal does not reach it.

        Args:
            environment: the base environment of every program.
            with_parent: ends it as soon as this process ends, even if it is killed (Linux only).
        """
        command = [str(PROGRAMS / "supervisord"), "-c", str(self._folder / "supervisord.conf")]
        with (self._logs / "supervisord.out").open("wb") as output:
            process = self._process = subprocess.Popen(
                with_death_signal(command) if with_parent else command,
                env={**environment, **mark(self._folder)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self.is_running():
            if process.poll() is not None or time.monotonic() > deadline:
                said = (self._logs / "supervisord.out").read_text(errors="replace").strip()
                raise ServiceError(f"supervisord: expected it to run, found that it does not: {said[-2000:]}")
            time.sleep(0.1)

    def wait(self) -> int:
        """Waits until the supervisord that was started here has ended, and returns its exit code."""
        return self._process.wait() if self._process else 0

    def is_running(self) -> bool:
        """Whether supervisord answers and runs."""
        try:
            return bool(self._ask("getState")["statename"] == "RUNNING")
        except (ServiceError, xmlrpc.client.Error):
            return False

    def start_program(self, name: str) -> None:
        """Starts a program that does not run."""
        if self.read_state(name).state not in {"RUNNING", "STARTING"}:
            try:
                self._ask("startProcess", name, False)
            except xmlrpc.client.Fault as error:
                raise ServiceError(f"{name}: expected it to start, found: {error.faultString}") from error

    def read_state(self, name: str) -> ProgramState:
        """The state of one program."""
        return _read_state(self._ask("getProcessInfo", name))

    def read_states(self) -> list[ProgramState]:
        """The state of every program, in the order of the configuration."""
        return [_read_state(info) for info in self._ask("getAllProcessInfo")]

    def stop(self) -> None:
        """Ends every program and supervisord, and then every process that is left of the stack."""
        if self.is_running():
            process_id = self._ask("getPID")
            processes = [process for process in find_processes(self._folder) if process.pid == process_id]
            self._ask("shutdown")
            psutil.wait_procs(processes, timeout=_STOP_SECONDS)
        left: list[psutil.Process] = []
        for end in (psutil.Process.terminate, psutil.Process.kill):
            left = _end(find_processes(self._folder), end)
        if left:
            found = ", ".join(str(process.pid) for process in left)
            raise ServiceError(f"processes: expected all to end, found {found} still there; `ps {found}` shows them")
        if self._process:
            self._process.wait()
        (self._folder / "supervisord.pid").unlink(missing_ok=True)

    def _ask(self, method: str, *arguments: object) -> Any:
        """Calls supervisord over a new connection, because a connection is not thread-safe."""
        url = f"http://local:{self._password}@127.0.0.1:{self._port}/RPC2"
        try:
            with xmlrpc.client.ServerProxy(url, transport=_PatientTransport()) as proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except (OSError, HTTPException) as error:
            raise ServiceError(
                f"supervisord: expected it to run, found that it does not answer ({error}); "
                "`mlops local up` starts the stack again"
            ) from error

    def _describe(self, program: Program, rank: int) -> str:
        # A program that sets its title would overwrite its environment, and with it the mark.
        environment = {**program.environment, **mark(self._folder), "SPT_NOENV": "1"}
        assignments = ",".join(_quote_assigned(name, value) for name, value in environment.items())
        return f"""\
[program:{program.name}]
command={_quote_value(shlex.join(with_death_signal(program.command)))}
directory={_quote_value(program.folder)}
environment={assignments}
autostart=false
priority={rank}
autorestart=true
startsecs=2
startretries={_START_RETRIES}
stopsignal={program.stop_signal}
stopwaitsecs={program.stop_seconds}
stopasgroup={str(program.has_helpers).lower()}
killasgroup=true
redirect_stderr=true
stdout_logfile={_quote_value(self._logs / program.name)}.log
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=1
"""


class _PatientTransport(xmlrpc.client.Transport):
    """A transport with a timeout, for a program at the supervisor's port that never answers."""

    def make_connection(self, host: Any) -> HTTPConnection:
        connection = super().make_connection(host)
        connection.timeout = _START_SECONDS
        return connection


def mark(folder: Path) -> dict[str, str]:
    """The variable that marks a process as one of the stack."""
    return {MARK: str(folder)}


def with_death_signal(command: Sequence[str]) -> list[str]:
    """Adds Linux's setpriv, if it is installed, so that a command ends when its parent process ends or is killed."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", *command] if setpriv else list(command)


def find_processes(folder: Path) -> list[psutil.Process]:
    """Every process of the stack of a state folder, even if its parents are gone."""
    return [process for process in psutil.process_iter() if _read_mark(process) == str(folder)]


def _read_mark(process: psutil.Process) -> str | None:
    try:
        return str(process.environ().get(MARK))
    except psutil.Error:
        return None


def _end(processes: Sequence[psutil.Process], end: Callable[[psutil.Process], None]) -> list[psutil.Process]:
    """Ends processes in one way, and returns those that still run some seconds later."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            end(process)
    return list(psutil.wait_procs(processes, timeout=_END_SECONDS)[1])


def _read_state(info: Mapping[str, Any]) -> ProgramState:
    running = info["statename"] == "RUNNING"
    seconds = int(info["now"] - info["start"]) if running else 0
    return ProgramState(info["name"], info["statename"], int(info["pid"]), seconds)


def _quote_value(value: object) -> str:
    """Escapes `%`, which begins a placeholder in supervisord's configuration; a comment sign cannot be escaped."""
    text = str(value)
    if any(comment in text for comment in (" ;", " #", "\n")):
        raise ServiceError(f"{text!r}: expected no blank before ; or # and no line end, found one; change it")
    return text.replace("%", "%%")


def _quote_assigned(name: str, value: str) -> str:
    """Quotes a value; supervisord reads all signs between double quotes literally, but may strip quotes."""
    if '"' in value or value.strip("'") != value:
        raise ServiceError(f"{name}: expected a value without quotes around or in it, found {value!r}; change it")
    return f'{name}="{_quote_value(value)}"'


def _check_folder(folder: Path) -> Path:
    """Refuses some signs: supervisord expands some paths twice, so an escape does not survive."""
    if any(letter in str(folder) for letter in "%\"'"):
        raise ServiceError(
            f"{folder}: expected a path without % and quotes, found one; choose another with `--state DIR`"
        )
    return folder
