"""The real supervisord with small programs."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from mlops.errors import ServiceError
from mlops.local.services import Service
from mlops.local.stack import LocalStack
from mlops.local.state import StateFolder
from mlops.local.supervisor import Program, Supervisor, find_processes, with_death_signal
from tests.ports import free_port

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


def wait_until(is_true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "a folder, 1"
    folder.mkdir()
    return folder


@pytest.fixture
def supervisor(folder: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(folder, folder, free_port(), "pass%word")
    yield supervisor
    supervisor.stop()


def start(supervisor: Supervisor, folder: Path, command: list[str], **environment: str) -> None:
    supervisor.write_configuration([Program("one", command, environment, folder)])
    supervisor.start(dict(os.environ), with_parent=False)
    supervisor.start_program("one")


def test_a_program_has_its_exact_environment_and_its_output_is_logged(supervisor: Supervisor, folder: Path) -> None:
    value = "a b,c=d;e %(x)s 'f' \\g#"
    start(supervisor, folder, [sys.executable, "-c", "import os; print('found', os.environ['VALUE'])"], VALUE=value)
    log = folder / "one.log"
    wait_until(lambda: log.is_file() and f"found {value}\n" in log.read_text())


def test_a_value_that_cannot_be_quoted_is_refused(supervisor: Supervisor, folder: Path) -> None:
    for value, problem in (('a"b', "VALUE: expected a value without quotes"), ("a ;b", "no blank before ;")):
        with pytest.raises(ServiceError, match=problem):
            supervisor.write_configuration([Program("one", SLEEP, {"VALUE": value}, folder)])


@pytest.mark.parametrize("name", ["100 %", "it's"])
def test_a_folder_that_cannot_be_quoted_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ServiceError, match="expected a path without % and quotes"):
        Supervisor(tmp_path / name, tmp_path, 1, "")


def test_a_killed_program_is_restarted(supervisor: Supervisor, folder: Path) -> None:
    start(supervisor, folder, SLEEP)
    wait_until(lambda: supervisor.read_state("one").state == "RUNNING")
    before = supervisor.read_state("one").process_id
    os.kill(before, signal.SIGKILL)
    # A moment passes before the supervisor knows.
    wait_until(lambda: supervisor.read_state("one").process_id not in {0, before})


def test_a_program_that_cannot_start_becomes_fatal_and_its_error_is_logged(
    supervisor: Supervisor, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops.local.supervisor._START_RETRIES", 2)
    start(supervisor, folder, [sys.executable, "-c", "raise SystemExit('no luck')"])
    wait_until(lambda: supervisor.read_state("one").state == "FATAL")
    assert "no luck" in (folder / "one.log").read_text()


def test_a_stranger_at_the_port_of_a_program_is_never_asked(
    supervisor: Supervisor, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops.local.stack.READY_SECONDS", 3)
    asked: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        program = Program("one", SLEEP, {}, folder)
        service = Service(program, lambda: bool(asked.append(1)) or True, stranger.getsockname()[1])
        supervisor.write_configuration([program])
        supervisor.start(dict(os.environ), with_parent=False)
        with pytest.raises(ServiceError, match="one: expected it to become ready, found it"):
            LocalStack(StateFolder(folder))._start_one(service, supervisor, lambda *_: None)
    assert not asked


def test_stopping_leaves_no_process_and_no_pid(supervisor: Supervisor, folder: Path) -> None:
    start(supervisor, folder, SLEEP)
    wait_until(lambda: len(find_processes(folder)) == 2)
    supervisor.stop()
    assert find_processes(folder) == []
    assert not (folder / "supervisord.pid").exists()


@pytest.mark.skipif(with_death_signal([]) == [], reason="needs Linux's setpriv")
def test_the_programs_of_a_killed_supervisor_end(supervisor: Supervisor, folder: Path) -> None:
    start(supervisor, folder, SLEEP)
    # Before that the child has not asked for its signal yet.
    wait_until(lambda: any(process.cmdline() == list(SLEEP) for process in find_processes(folder)))
    os.kill(int((folder / "supervisord.pid").read_text()), signal.SIGKILL)
    wait_until(lambda: find_processes(folder) == [])


def test_a_process_that_outlived_its_parent_is_ended(supervisor: Supervisor, folder: Path) -> None:
    orphan = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
    start(supervisor, folder, [sys.executable, "-c", f"{orphan}; import time; time.sleep(600)"])
    wait_until(lambda: len(find_processes(folder)) == 3)
    for process in find_processes(folder):
        if process.children():
            process.send_signal(signal.SIGKILL)
    supervisor.stop()
    assert find_processes(folder) == []


def test_a_stack_without_its_folder_is_ended(supervisor: Supervisor, folder: Path) -> None:
    start(supervisor, folder, SLEEP)
    wait_until(lambda: len(find_processes(folder)) == 2)
    shutil.rmtree(folder)
    LocalStack(StateFolder(folder)).down()
    assert find_processes(folder) == []


def test_a_process_of_no_stack_is_not_ended(supervisor: Supervisor, folder: Path) -> None:
    stranger = psutil.Popen(SLEEP)
    try:
        supervisor.stop()
        assert stranger.is_running()
    finally:
        stranger.kill()
        stranger.wait()
