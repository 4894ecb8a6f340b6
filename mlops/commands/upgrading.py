"""`mlops upgrade`: the stack goes to the version of its checkout, or stays what it was."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from mlops.commands.backups import Target, open_site
from mlops.commands.checks import EnvFile, smoke
from mlops.commands.version import version
from mlops.endings import explained
from mlops.errors import UpgradeError
from mlops.host import find_env_file, read_backup_target

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlops.backup.site import Site
    from mlops.compose import Container
    from mlops.upgrade.upgrading import Upgrade

POLL_SECONDS = 5.0

commands = typer.Typer()


@commands.command()
def upgrade(
    target: Target = None,
    env_file: EnvFile = None,
    *,
    old: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="COMMIT", help="The commit that runs.", show_default="the one that the stack tells"
        ),
    ] = None,
    wait_minutes: Annotated[
        float, typer.Option("--wait", min=0, help="Minutes to wait for trainings and rollouts that are under way.")
    ] = 0.0,
    interrupt: Annotated[
        bool, typer.Option("--interrupt", help="Do not wait for them: their tasks begin again afterwards.")
    ] = False,
    try_loop: Annotated[bool, typer.Option("--smoke/--no-smoke", help="Try the loop at the end.")] = True,
    back: Annotated[bool, typer.Option("--back", help="Undo an upgrade that did not end.")] = False,
) -> None:
    """Take the stack to the version of its checkout while it answers, or back to the one before if a step fails."""
    console = Console()
    with explained():
        from mlops.compose import claim
        from mlops.local.interruption import ended_like_ctrl_c

        found = (env_file or find_env_file()).resolve()
        work = _open(
            found, target, lambda step: console.print(f"  {step}", highlight=False, soft_wrap=True, markup=False)
        )
        if not try_loop:
            work = replace(work, try_loop=_skip)
        with claim(work.checkout.folder), ended_like_ctrl_c():
            if back:
                # Nothing may be imported any more: the files are those of the other version now.
                text = f"{work.go_back()} runs again, and the checkout is at it; `git checkout` goes to another one."
                console.print(text, highlight=False, soft_wrap=True, markup=False)
                return
            if not _advance(work, old, None if interrupt else wait_minutes, found):
                console.print("The stack runs the commit of this checkout already; `make up` starts what is missing.")
                return
    version(found)


def _advance(work: Upgrade, old: str | None, wait_minutes: float | None, env_file: Path) -> bool:
    """Runs the upgrade where nothing keeps it; False where the stack runs the commit of the checkout already."""
    from mlops.upgrade.before import MARKER
    from mlops.upgrade.conditions import check_checkout, check_containers, check_migrations, check_space

    for marker, way in ((work.checkout.folder / MARKER, "mlops upgrade --back"), (work.site.marker, "mlops restore")):
        if marker.exists():
            raise UpgradeError(f"{marker}: expected none, found one that did not end; run `{way}` first")
    project = work.stack.project
    containers = project.list_containers()
    check_containers(containers, work.checkout.folder)
    commit = old or _find_commit(containers)
    check_checkout(work.checkout, commit)
    commit = work.checkout.resolve(commit)
    if work.checkout.describe(commit) == work.checkout.describe("HEAD"):
        return False
    check_migrations(work.site.postgres)
    check_space(work.site, work.target)
    if wait_minutes is not None:
        _await_quiet(env_file, work.site, wait_minutes)
    work.report(f"from {work.checkout.describe(commit)} to {work.checkout.describe('HEAD')}")
    work.run(commit, _find_files(containers))
    return True


def _await_quiet(env_file: Path, site: Site, minutes: float) -> None:
    """Waits until neither a training nor a rollout is under way."""
    from mlops.airflow_api import AirflowApi
    from mlops.local.state import read_airflow
    from mlops.upgrade.conditions import find_work

    login, deadline = read_airflow(env_file), time.monotonic() + minutes * 60
    with closing(AirflowApi(login.url, login.username, login.password)) as api:
        while under_way := find_work(api, site.postgres):
            if time.monotonic() >= deadline:
                raise UpgradeError(
                    f"stack: expected neither a training nor a rollout under way, found {', '.join(under_way)}; wait "
                    "for them by `--wait MINUTES`, or interrupt them by `--interrupt`"
                )
            time.sleep(POLL_SECONDS)


def _open(env_file: Path, target: Path | None, report: Callable[[str], None]) -> Upgrade:
    from mlops.backup.local_site import is_local
    from mlops.backup.making import LIBRARIES
    from mlops.compose import ComposeProject
    from mlops.upgrade.checkout import Checkout
    from mlops.upgrade.stack import UpgradedStack
    from mlops.upgrade.upgrading import Upgrade

    if is_local(env_file):
        raise UpgradeError(
            "upgrade: expected a stack in Docker, found the one without it; run `mlops local down`, `git pull`, "
            "`make install`, `mlops local up`"
        )
    project, site = ComposeProject(env_file), open_site(env_file)

    def find_versions() -> dict[str, str]:
        scheduler = next((one for one in project.list_containers() if one.service == "airflow-scheduler"), None)
        found = project.read_libraries(scheduler, list(LIBRARIES.values())) if scheduler else {}
        return {name: found[package] for name, package in LIBRARIES.items() if package in found}

    def try_loop() -> None:
        try:
            smoke(env_file)
        except typer.Exit as error:
            raise UpgradeError("loop: expected each step to succeed, found one that failed") from error

    return Upgrade(
        # The version before may not have the key of backups.
        site=replace(site, reader=site.writer),
        target=read_backup_target(env_file, target),
        checkout=Checkout(env_file.parent),
        stack=UpgradedStack(project),
        find_versions=find_versions,
        try_loop=try_loop,
        report=report,
    )


def _find_commit(containers: list[Container]) -> str:
    """The commit that the stack was started from, as it tells; make writes it."""
    told = [found.environment.get("MLOPS_GIT_COMMIT") for found in containers if found.service == "airflow-scheduler"]
    return next(filter(None, told), "")


def _find_files(containers: list[Container]) -> tuple[str, ...]:
    """The compose files that the running containers were made of: a profile adds one, and `up` is told only there."""
    found = {name: None for container in containers if container.is_running for name in container.files}
    return tuple(sorted(found, key=lambda name: "/" in name))


def _skip() -> None:
    """Tries nothing."""
