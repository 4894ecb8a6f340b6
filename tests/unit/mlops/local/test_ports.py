from __future__ import annotations

import socket
from pathlib import Path

import pytest

from mlops.errors import PortError
from mlops.local.ports import find_socket_folder


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
