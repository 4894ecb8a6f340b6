"""A copy of the repository whose stack disturbs no other one: its name, its images and its ports are its own."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path

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
    for name in _list_files():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / name, target)
    with (folder / "ml_code/catalog/iris.toml").open("a") as catalog:
        catalog.write(CANARY)
    subprocess.run(["docker/bin/env.sh"], cwd=folder, check=True, capture_output=True)
    file = folder / ".env"
    lines = file.read_text().splitlines()
    ports = [line.partition("=")[0] for line in lines if line.partition("=")[0].endswith("_PORT")]
    own = f"{FAMILY}-{os.getpid()}"
    changes = {"COMPOSE_PROJECT_NAME": own, "IMAGE_TAG": own, **QUICK, **{name: str(free_port()) for name in ports}}
    kept = [line for line in lines if line.partition("=")[0] not in changes]
    file.write_text("\n".join([*kept, *(f"{name}={value}" for name, value in changes.items())]) + "\n")
    return Stack(folder)


def remove_leftovers() -> None:
    """Removes the stacks and images of runs on this machine that did not come to their end."""
    for name in sorted(_list_names()):
        process = name.removeprefix(f"{FAMILY}-")
        if process.isdigit() and not _is_alive(int(process)):
            remove(name)


def remove(name: str) -> None:
    """Removes a stack with its volumes and its images; the build cache stays."""
    # Nothing is to be kept, so no service gets the time to end well.
    down = ["down", "--volumes", "--remove-orphans", "--timeout", "1"]
    files = [*WITH_CELERY, *WITH_OBSERVABILITY[2:]]
    command = ["docker", "compose", *files, "--project-name", name, "--env-file", ".env.example", *down]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, timeout=300)
    docker("image", "rm", "--force", *(f"mlops-loop/{image}:{name}" for image in IMAGES), check=False)


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
