"""A copy of the repository whose stack disturbs no other one: its name, its images and its ports are its own."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path

from mlops.upgrade.stack import BEFORE
from tests.e2e.stack import IMAGES, WITH_CELERY, WITH_OBSERVABILITY, Stack, docker
from tests.ports import free_port

REPOSITORY = Path(__file__).resolve().parents[2]
FAMILY = f"mlops-loop-e2e-{hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]}"
"""Begins the name of every such stack of this machine; the number of the process that made it follows."""

QUICK = {"INCOMING_POLL_SECONDS": "2", "HEALTH_START_INTERVAL": "2s"}
"""Settings of .env that shorten waiting and change nothing else."""


CANARY = "\n[canary]\nwindow_seconds = 5\nminimum_requests = 60\nlatency_margin_ms = 1000\n"
"""Rules of the copy's iris: a form that loosened them would wait for a person."""


def make_copy(folder: Path) -> Stack:
    """Copies what git knows, writes .env as `make env` does, and sets what has to differ from another stack."""
    remove_leftovers()
    copy_files(folder)
    shorten_canary(folder)
    write_env(folder, f"{FAMILY}-{os.getpid()}")
    return Stack(folder)


def copy_files(folder: Path) -> None:
    """Copies what git knows, as it is now."""
    for name in _list_files():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / name, target)


def shorten_canary(folder: Path) -> None:
    """Adds the rules of the copy to its catalog."""
    with (folder / "ml_code/catalog/iris.toml").open("a") as catalog:
        catalog.write(CANARY)


def write_env(folder: Path, own: str, **more: str) -> None:
    """Writes .env as `make env` does, with a name and ports of its own, and further settings."""
    subprocess.run(["docker/bin/env.sh"], cwd=folder, check=True, capture_output=True)
    file = folder / ".env"
    lines = file.read_text().splitlines()
    ports = [line.partition("=")[0] for line in lines if line.partition("=")[0].endswith("_PORT")]
    own_ports = {name: str(free_port()) for name in ports}
    changes = {"COMPOSE_PROJECT_NAME": own, "IMAGE_TAG": own, **QUICK, **own_ports, **more}
    kept = [line for line in lines if line.partition("=")[0] not in changes]
    file.write_text("\n".join([*kept, *(f"{name}={value}" for name, value in changes.items())]) + "\n")


def remove_leftovers() -> None:
    """Removes the stacks and images of runs on this machine that did not come to their end."""
    for name in sorted(_list_names()):
        process = name.removeprefix(f"{FAMILY}-").partition("-")[0]
        if process.isdigit() and not _is_alive(int(process)):
            remove(name)


def remove(name: str) -> None:
    """Removes a stack with its volumes and its images; the build cache stays."""
    # Nothing is to be kept, so no service gets the time to end well.
    down = ["down", "--volumes", "--remove-orphans", "--timeout", "1"]
    files = [*WITH_CELERY, *WITH_OBSERVABILITY[2:]]
    command = ["docker", "compose", *files, "--project-name", name, "--env-file", ".env.example", *down]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, timeout=300)
    tags = [f"mlops-loop/{image}:{name}{end}" for image in IMAGES for end in ("", BEFORE)]
    docker("image", "rm", "--force", *tags, check=False)


def _list_files() -> Iterator[str]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    yield from (name for name in listed.split("\0") if name and (REPOSITORY / name).is_file())


def _list_names() -> Collection[str]:
    """Every name of the family that a container, a volume or an image carries."""
    label = '{{.Label "com.docker.compose.project"}}'
    listed = docker("ps", "--all", "--format", label).stdout + docker("volume", "ls", "--format", label).stdout
    listed += docker("image", "ls", "--format", "{{.Tag}}").stdout
    return {name for name in listed.splitlines() if name.startswith(FAMILY)}


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
