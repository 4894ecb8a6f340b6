"""The compose project of a checkout: what its containers run, and the commands that change it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops.errors import EngineError

LABEL = "com.docker.compose"

PROGRESS = re.compile(r"(?:Container|Image|Network|Volume) \S+ ")

BUILT = ("airflow", "mlflow", "serving")
"""Images that are built here, with the tag IMAGE_TAG."""

ASK_LIBRARIES = """\
import json, sys
from importlib.metadata import PackageNotFoundError, version
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""

type Run = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True, slots=True)
class Container:
    """One container; `image` is the name that it was made by, `image_id` the content."""

    container_id: str
    service: str
    image: str
    image_id: str
    is_running: bool
    exit_code: int
    is_healthy: bool
    environment: Mapping[str, str]
    folder: Path
    files: tuple[str, ...]


def name_compose(env_file: Path) -> tuple[str, ...]:
    """The words after `docker` that begin each command of the project; without the file, Compose would read .env."""
    return "compose", "--env-file", str(env_file.absolute())


class ComposeProject:
    """The project that a checkout's file of settings and its compose files describe.

    >>> [container.service for container in ComposeProject(checkout / ".env").list_containers()]
    ['postgres', 'minio', ...]
    """

    def __init__(self, env_file: Path, run: Run = subprocess.run) -> None:
        self.env_file = env_file
        self.checkout = env_file.parent
        self.files: tuple[str, ...] = ()
        """The compose files, where a profile adds some; none means those of .env."""
        self.commit = ""
        """The commit that containers are told, if any."""
        self._run = run

    def list_containers(self) -> list[Container]:
        """The containers of the project, also those that have ended.

        Raises:
            EngineError: Docker does not answer.
        """
        name = self.read()["name"]
        listed = self.docker("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={LABEL}.project={name}")
        if not (ids := listed.split()):
            return []
        return [_read_container(found) for found in json.loads(self.docker("inspect", *ids))]

    def read(self) -> Mapping[str, Any]:
        """What the compose files and .env describe.

        Raises:
            EngineError: they cannot be read, or Docker is missing.
        """
        found: Mapping[str, Any] = json.loads(self.compose("config", "--format", "json"))
        return found

    def read_libraries(self, container: Container, names: Sequence[str]) -> dict[str, str]:
        """The versions of packages in a container; those that it lacks are left out."""
        try:
            found = self.docker("exec", container.container_id, "python", "-c", ASK_LIBRARIES, *names)
        except EngineError:
            return {}
        return {str(name): str(version) for name, version in json.loads(found).items()}

    def find_image(self, name: str) -> str | None:
        """The content that an image's name stands for now; None without one."""
        try:
            return self.docker("image", "inspect", "--format", "{{.Id}}", name).strip()
        except EngineError:
            return None

    def compose(self, *arguments: str) -> str:
        """Runs `docker compose` and returns what it printed.

        Raises:
            EngineError: it failed.
        """
        return self.docker("compose", *arguments)

    def read_last_words(self, container: Container) -> str:
        """The end of what a container has said, on either of its streams."""
        done = self._call("logs", "--tail", "5", container.container_id)
        return " ".join(f"{done.stdout}\n{done.stderr}".split())[-600:]

    def docker(self, *arguments: str) -> str:
        """Runs `docker` and returns what it printed.

        Raises:
            EngineError: it failed.
        """
        return self._call(*arguments).stdout

    def _call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = dict(os.environ)
        if self.files:
            environment |= {"COMPOSE_FILE": ":".join(self.files), "COMPOSE_PATH_SEPARATOR": ":"}
        if self.commit:
            environment["GIT_COMMIT"] = self.commit
        program, *others = arguments
        command = ["docker", *(name_compose(self.env_file) if program == "compose" else (program,)), *others]
        options: dict[str, Any] = {"cwd": self.checkout, "env": environment, "stdin": subprocess.DEVNULL}
        try:
            done = self._run(command, **options, capture_output=True, text=True, check=False, errors="replace")
        except FileNotFoundError as error:
            raise EngineError(
                "Docker: expected the program `docker`, found none; install Docker with Compose"
            ) from error
        if done.returncode != 0:
            raise EngineError(
                f"docker {' '.join(arguments[:6])}: expected exit code 0, found {done.returncode}: "
                f"{find_reason(done.stderr)}; `docker compose logs` has more"
            )
        return done


def find_reason(said: str) -> str:
    """The end of what Docker said, at most 600 characters, without the lines in which Compose tells its progress."""
    lines = list(dict.fromkeys(line.strip() for line in said.splitlines() if line.strip()))
    return "; ".join([line for line in lines if not PROGRESS.match(line)] or lines)[-600:]


def _read_container(found: Mapping[str, Any]) -> Container:
    labels, state = found["Config"]["Labels"], found["State"]
    folder = Path(labels.get(f"{LABEL}.project.working_dir", ""))
    files = [Path(name) for name in labels.get(f"{LABEL}.project.config_files", "").split(",") if name]
    return Container(
        container_id=found["Id"],
        service=labels[f"{LABEL}.service"],
        image=found["Config"]["Image"],
        image_id=found["Image"],
        is_running=state["Status"] == "running",
        exit_code=state.get("ExitCode", 0),
        is_healthy=(state.get("Health") or {}).get("Status", "healthy") == "healthy",
        environment=dict(entry.partition("=")[::2] for entry in found["Config"]["Env"] or ()),
        folder=folder,
        files=tuple(str(file.relative_to(folder)) if file.is_relative_to(folder) else str(file) for file in files),
    )


@contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Keeps out a second command that changes the containers of a checkout.

    Raises:
        EngineError: another one runs, or the folder cannot be locked.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EngineError(
                f"{folder}: expected no other `mlops restore`, `mlops scale` or `mlops upgrade`, found one that runs; "
                "wait for its end, or end it (systemctl stop)"
            ) from error
        except OSError as error:
            raise EngineError(
                f"{folder}: expected a file system with locks, found {error.strerror}; move the checkout to a local "
                "disk, or mount the share with locks"
            ) from error
        yield
    finally:
        os.close(handle)
