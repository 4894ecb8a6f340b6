"""`mlops storage`: the object store as a whole."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from mlops.commands.checks import EnvFile
from mlops.commands.output import AsJson, print_json
from mlops.endings import explained
from mlops.errors import StoreError
from mlops.host import find_env_file, load_stack_settings, read_env_file

commands = typer.Typer(help="The object store as a whole.", no_args_is_help=True)


@commands.callback()
def storage() -> None:
    """The object store as a whole."""


@commands.command("copy")
def copy_objects(
    source: Annotated[str, typer.Option("--from", help="Address of the old store, with the root key of .env.")],
    env_file: EnvFile = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Take every object of another store over into this one and compare it; a killed copy goes on when repeated."""
    with explained():
        from mlops.store_copy import copy_store, open_store

        found = env_file or find_env_file()
        settings, values = load_stack_settings(found), read_env_file(found, interpolate=True)
        key = values.get("MINIO_ROOT_USER", ""), values.get("MINIO_ROOT_PASSWORD", "")
        if source.rstrip("/") == settings.s3_endpoint_url.rstrip("/"):
            raise StoreError(
                f"--from: expected the address of another store, found {source}, the one that .env names; the old "
                "store has a port of its own (docs/scaling.md)"
            )
        console = Console()
        copied = copy_store(
            open_store(settings, source, key),
            open_store(settings, settings.s3_endpoint_url, key),
            lambda step: None if as_json else console.print(f"  {step}", highlight=False, soft_wrap=True),
        )
    if as_json:
        print_json({"objects": copied.objects, "written": copied.written, "bytes": copied.size_bytes})
        return
    size = f"{copied.objects} objects, {copied.size_bytes / 1e6:.1f} MB"
    console.print(f"{size}: the same in both stores; {copied.written} written now", highlight=False, soft_wrap=True)
