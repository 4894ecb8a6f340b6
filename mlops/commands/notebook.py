"""`mlops notebook`: JupyterLab beside the running stack."""

from __future__ import annotations

from typing import Annotated

import typer

from mlops.endings import explained
from mlops.host import load_host_settings
from mlops.local.notebooks import open_notebooks

commands = typer.Typer()


@commands.command()
def notebook(
    options: Annotated[
        list[str] | None, typer.Argument(help="Further options of `jupyter lab`, after --.", show_default=False)
    ] = None,
    port: Annotated[int, typer.Option(help="Port on loopback.", min=1, max=65535)] = 8888,
) -> None:
    """Open the notebooks in JupyterLab, beside the stack of this machine; Ctrl-C ends it."""
    with explained():
        load_host_settings()  # a notebook would fail in its first cell
        open_notebooks(port, options or [])
