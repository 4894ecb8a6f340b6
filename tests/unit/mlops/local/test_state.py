from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from mlops.errors import PortError, StateFolderError
from mlops.local.stack import LocalStack
from mlops.local.state import PORTS, StateFolder


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateFolder:
    for name in PORTS.values():
        monkeypatch.delenv(name, raising=False)
    state = StateFolder(tmp_path / "a state")
    state.prepare()
    return state


def listen() -> tuple[socket.socket, int]:
    server = socket.create_server(("127.0.0.1", 0))
    return server, int(server.getsockname()[1])


def test_secrets_are_random_and_for_the_owner_alone(state: StateFolder) -> None:
    settings = state.read_settings()
    assert state.path.stat().st_mode & 0o777 == 0o700
    assert [name for name, value in settings.items() if value.startswith("insecure-")] == []
    assert len(settings["SUPERVISOR_PASSWORD"]) == 32
    assert state.env_file.stat().st_mode & 0o777 == 0o600
    state.choose_ports()
    assert state.env_file.stat().st_mode & 0o777 == 0o600


def test_preparing_again_keeps_the_secrets(state: StateFolder) -> None:
    before = state.read_settings()
    state.prepare()
    assert state.read_settings() == before


def test_every_service_has_a_port_of_its_own_and_keeps_it(state: StateFolder) -> None:
    chosen = state.choose_ports()
    assert len(set(chosen.values())) == len(PORTS)
    assert state.choose_ports() == chosen == state.read_ports()


def test_a_stored_port_that_is_taken_is_replaced(state: StateFolder) -> None:
    before = state.choose_ports()["objects"]
    with socket.create_server(("127.0.0.1", before)):
        assert state.choose_ports()["objects"] != before


@pytest.mark.parametrize("found", ["80800", "", "airflow"])
def test_an_invalid_stored_port_is_replaced(state: StateFolder, found: str) -> None:
    state.choose_ports()
    text = re.sub("^AIRFLOW_PORT=.*$", f"AIRFLOW_PORT={found}", state.env_file.read_text(), flags=re.M)
    state.env_file.write_text(text)
    assert 0 < state.choose_ports()["airflow"] < 65536


def test_a_requested_port_is_used_or_refused(state: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    server, port = listen()
    monkeypatch.setenv("AIRFLOW_PORT", str(port))
    with server, pytest.raises(PortError, match=f"AIRFLOW_PORT: expected port {port} to be free"):
        state.choose_ports()
    assert state.choose_ports()["airflow"] == port


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"AIRFLOW_PORT": "80800"}, "AIRFLOW_PORT: expected a port from 1 to 65535, found 80800"),
        ({"AIRFLOW_PORT": "0"}, "AIRFLOW_PORT: expected a port from 1 to 65535, found 0"),
        ({"MLFLOW_PORT": "{0}", "AIRFLOW_PORT": "{0}"}, "AIRFLOW_PORT: expected a port of its own, found"),
    ],
)
def test_an_invalid_requested_port_is_refused_with_its_name(
    state: StateFolder, monkeypatch: pytest.MonkeyPatch, asked: dict[str, str], problem: str
) -> None:
    server, port = listen()
    server.close()
    for name, value in asked.items():
        monkeypatch.setenv(name, value.format(port))
    with pytest.raises(PortError, match=problem):
        state.choose_ports()


def test_a_requested_port_takes_precedence_over_another_services_stored_port(
    state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state.choose_ports()["postgres"]
    monkeypatch.setenv("AIRFLOW_PORT", str(before))
    chosen = state.choose_ports()
    assert chosen["airflow"] == before != chosen["postgres"]


def test_a_folder_of_another_version_is_refused_with_advice(state: StateFolder) -> None:
    (state.path / "mlops-local-stack").write_text("0\n")
    with pytest.raises(StateFolderError, match="found version 0 of a local stack, expected 1; `mlops local reset`"):
        state.prepare()


def test_a_folder_with_other_things_in_it_is_neither_used_nor_deleted(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(StateFolderError, match="expected a folder of its own, found other files"):
        StateFolder(tmp_path).prepare()
    with pytest.raises(StateFolderError, match="nothing was deleted"):
        LocalStack(StateFolder(tmp_path)).reset()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_of_a_full_disk_is_used_once_there_is_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = StateFolder(tmp_path / "state")
    with monkeypatch.context() as small:
        small.setattr("mlops.local.state.MIN_FREE_MB", 1e12)
        with pytest.raises(StateFolderError, match="MB free"):
            state.prepare()
    state.prepare()
    assert state.logs.is_dir()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateFolderError, match="expected a folder that can be written"):
        StateFolder(tmp_path / "file" / "state").prepare()


def test_only_one_command_at_a_time_changes_a_stack(state: StateFolder) -> None:
    with state.locked(), pytest.raises(StateFolderError, match="is at work on it"), state.locked():
        pass
    (state.path / "env").write_text("A_PORT=1\n")
    with state.locked(), pytest.raises(StateFolderError, match="is at work on it"):
        state.prepare()
    assert state.env_file.read_text() == "A_PORT=1\n"


def test_the_error_without_a_stack_tells_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(StateFolderError, match="mlops local up"):
        StateFolder(tmp_path).read_settings()


def test_a_claimed_folder_takes_the_settings_of_a_backup(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "new")
    state.claim()
    state.env_file.write_text("SUPERVISOR_PASSWORD=of-the-backup\n")
    state.prepare()
    assert state.read_settings()["SUPERVISOR_PASSWORD"] == "of-the-backup"
