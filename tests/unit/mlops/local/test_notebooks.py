from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from mlops.errors import ServiceError
from mlops.local import notebooks
from mlops.local.notebooks import open_notebooks


def test_jupyterlab_listens_on_loopback_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebooks, "find_spec", lambda _: object())
    started: list[tuple[str, Sequence[str]]] = []
    open_notebooks(8899, ["--no-browser"], folder=tmp_path, replace=lambda *program: started.append(program))
    arguments = [
        sys.executable, "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=8899",
        "--ServerApp.port_retries=0", f"--ServerApp.root_dir={tmp_path}", "--no-browser",
    ]  # fmt: skip
    assert started == [(sys.executable, arguments)]


def test_a_missing_jupyterlab_is_named_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebooks, "find_spec", lambda _: None)
    with pytest.raises(ServiceError, match=r"found none in this environment.*make notebook"):
        open_notebooks(8888, folder=tmp_path)


def test_missing_notebooks_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebooks, "find_spec", lambda _: object())
    with pytest.raises(ServiceError, match=r"away: found no such folder"):
        open_notebooks(8888, folder=tmp_path / "away")
