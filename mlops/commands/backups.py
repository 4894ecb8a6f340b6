"""`mlops backup`, `mlops verify` and `mlops restore`: sets of a stack's data, and their way back."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from mlops.commands.checks import EnvFile, smoke
from mlops.commands.output import AsJson, print_json, print_table
from mlops.endings import explained
from mlops.host import find_env_file, read_backup_target

if TYPE_CHECKING:
    from mlops.backup.site import Site

Target = Annotated[Path | None, typer.Option("--target", help="Folder of the sets.", show_default="BACKUP_DIR of .env")]
SetName = Annotated[
    str | None, typer.Argument(metavar="[SET]", help="Name or folder of a set.", show_default="the newest")
]

commands = typer.Typer()


@commands.command()
def backup(
    target: Target = None,
    env_file: EnvFile = None,
    *,
    only_list: Annotated[bool, typer.Option("--list", help="Show the sets, and make none.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a set of the databases, the objects and the settings, while the stack runs; old sets go."""
    with explained():
        from mlops.backup.making import make_backup
        from mlops.backup.manifest import read_manifest

        found = env_file or find_env_file()
        place = read_backup_target(found, target)
        if only_list:
            _list(place.folder, as_json=as_json)
            return
        made = make_backup(open_site(found), place, _make_report(quiet=as_json))
        manifest = read_manifest(made)
    if as_json:
        print_json({"set": str(made), "objects": manifest.objects, "bytes": manifest.size_bytes})
        return
    size = f"{manifest.objects} objects, {manifest.size_bytes / 1e6:.1f} MB"
    Console().print(f"{made}: {size}; `mlops verify` restores it on trial", highlight=False, soft_wrap=True)
    if place.passphrase is None:
        hint = "set BACKUP_PASSPHRASE and note it elsewhere, or keep .env in a safe place"
        Console().print(f"The settings are not in it: {hint}.", highlight=False, soft_wrap=True)


@commands.command()
def verify(
    name: SetName = None,
    target: Target = None,
    env_file: EnvFile = None,
    *,
    files_only: Annotated[
        bool, typer.Option("--files-only", help="Read every byte, and restore no database on trial.")
    ] = False,
) -> None:
    """Read every byte of a set, and restore its databases on trial; the exit code is 1 if the set is bad."""
    started = time.monotonic()
    with explained():
        from mlops.backup import verifying

        found = env_file or find_env_file()
        folder = _find(found, target, name)
        postgres = None if files_only else open_site(found).postgres
        manifest = verifying.verify(folder, postgres, _make_report())
    told = "every byte is as it was written" if files_only else "whole, and its databases were restored on trial"
    Console().print(
        f"{folder}: {told}; made at {manifest.began_at[:19]}, {time.monotonic() - started:.0f} s",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


@commands.command()
def restore(
    name: SetName = None,
    target: Target = None,
    env_file: EnvFile = None,
    *,
    is_over_existing: Annotated[
        bool, typer.Option("--over-existing", help="Replace the data of the stack, which is lost.")
    ] = False,
) -> None:
    """Put a set back into the stack of this machine, start it and try its loop; a killed one goes on when repeated."""
    started = time.monotonic()
    with explained():
        from mlops.backup import restoring
        from mlops.backup.local_site import claim_folder, is_local
        from mlops.compose import claim

        found = env_file or find_env_file()
        folder = _find(found, target, name)
        # A state folder has a lock of its own, and may be gone.
        with nullcontext() if is_local(found) else claim(found.resolve().parent):
            if not found.is_file():
                place = read_backup_target(found, folder.parent)
                checkout = claim_folder(found) if is_local(found) else found.resolve().parent
                restoring.put_settings_back(folder, found, checkout, place.passphrase)
            report = _make_report()
            manifest = restoring.restore(folder, open_site(found), report, is_over_existing=is_over_existing)
    seconds = time.monotonic() - started
    Console().print(
        f"{folder}: restored in {seconds / 60:.1f} minutes, as of {manifest.began_at[:19]}; now its loop:",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    smoke(found)


def open_site(env_file: Path) -> Site:
    """The stack that a file of settings describes, in whichever form it runs."""
    from mlops.backup.local_site import is_local, open_local_site
    from mlops.backup.site import open_compose_site

    return open_local_site(env_file) if is_local(env_file) else open_compose_site(env_file)


def _find(env_file: Path, target: Path | None, name: str | None) -> Path:
    """The folder of a set: a folder that is named needs no BACKUP_DIR."""
    from mlops.backup.sets import find_set

    if name and target is None and Path(name).is_dir():
        return Path(name)
    return find_set(read_backup_target(env_file, target).folder, name)


def _list(folder: Path, *, as_json: bool) -> None:
    from mlops.backup.sets import list_sets

    rows = [
        {
            "set": found.name,
            "age": f"{(datetime.now(UTC) - found.made_at).total_seconds() / 86_400:.1f} days",
            "size": f"{found.manifest.size_bytes / 1e6:.1f} MB" if found.manifest else None,
            "state": "whole" if found.manifest else "not whole",
        }
        for found in list_sets(folder)
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(rows)


def _make_report(*, quiet: bool = False) -> Callable[[str], None]:
    """Prints each step as it begins."""
    console = Console()
    return lambda step: None if quiet else console.print(f"  {step}", highlight=False, soft_wrap=True)
