"""JupyterLab as a process of this machine, with the notebooks of the repository."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from ml_code.settings import REPOSITORY
from mlops.errors import ServiceError

NOTEBOOKS = REPOSITORY / "notebooks"

type Replace = Callable[[str, list[str]], object]


def open_notebooks(
    port: int, options: Sequence[str] = (), *, folder: Path = NOTEBOOKS, replace: Replace = os.execv
) -> None:
    """Replaces this process by JupyterLab, so that a signal to the command ends it.

    It listens on loopback and makes a token at each start, which is part of the address that it prints.

    Args:
        port: to listen on.
        options: further ones of `jupyter lab`.
        folder: of the notebooks.
        replace: replaces the process by a program with arguments.

    Raises:
        ServiceError: JupyterLab is not installed, or the notebooks are not there.
    """
    if find_spec("jupyterlab") is None:
        raise ServiceError(
            "jupyterlab: found none in this environment, expected it; "
            "`make notebook` installs it and opens the notebooks"
        )
    if not folder.is_dir():
        raise ServiceError(f"{folder}: found no such folder, expected the notebooks; run the command of a checkout")
    fixed = ["--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    replace(sys.executable, [sys.executable, "-m", "jupyterlab", *fixed, f"--ServerApp.root_dir={folder}", *options])
