from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mlops.errors import PortError
from mlops.local.ports import find_socket_folder, is_held_by


def test_a_folder_with_a_long_path_has_a_link_in_which_a_socket_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    folder = tmp_path / ("deep/" * 20)
    folder.mkdir(parents=True)
    for _ in range(2):
        found = find_socket_folder(folder)
        assert found.resolve() == folder
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(found / ".s.PGSQL.54321"))
        (folder / ".s.PGSQL.54321").unlink()
    assert find_socket_folder(Path("/short")) == Path("/short")


def test_a_link_that_leads_elsewhere_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    folder = tmp_path / ("deep/" * 20)
    link = find_socket_folder(folder)
    link.unlink()
    link.symlink_to("/elsewhere")
    with pytest.raises(PortError, match="found it in use"):
        find_socket_folder(folder)


def test_a_port_is_held_by_its_listener_and_by_who_started_it() -> None:
    listen = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    command = [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {listen!r}])"]
    sleep = [sys.executable, "-c", "input()"]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent,
        subprocess.Popen(sleep, stdin=subprocess.PIPE) as stranger,
    ):
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        assert is_held_by(port, parent.pid)
        assert is_held_by(port, os.getpid())
        assert not is_held_by(port, stranger.pid)
        assert not is_held_by(1, parent.pid)
        parent.communicate("\n")
        stranger.communicate(b"\n")
    assert not is_held_by(port, parent.pid)


def test_a_process_whose_ports_cannot_be_seen_counts_as_the_holder(monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "net_connections", deny)
    assert is_held_by(1, os.getpid())
