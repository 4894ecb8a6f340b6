"""A compose project that is moved to another version while its replicas answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlops.compose import ComposeProject
from mlops.errors import EngineError, UpgradeError

CANARY, STABLE = "serving-canary", "serving"
GATEWAY = "nginx"

OURS = "mlops-loop/"
"""Begins the names of the images that are built here."""

OF_OURS = "label=org.opencontainers.image.title=mlops-loop"
"""Finds those images, also where a newer build has taken their names."""

BEFORE = "-before"
"""Ends the tag of an image that ran until the upgrade."""

ASK_READY = "import urllib.request as u; u.urlopen('http://127.0.0.1:3000/readyz', timeout=5)"

READY_SECONDS = 300.0
DNS_SECONDS = 5.0
"""After this the gateway has looked up the replicas again, which it does every two seconds."""

type Services = Mapping[str, Mapping[str, Any]]


class UpgradedStack:
    """The steps of an upgrade and of its way back, each of which may be repeated."""

    def __init__(self, project: ComposeProject, pause: Callable[[float], None] = time.sleep) -> None:
        self.project = project
        self._pause = pause

    def tag_images(self) -> dict[str, str]:
        """Gives the images that run a second name, and returns their contents by their first one."""
        images = {
            found.image: found.image_id
            for found in self.project.list_containers()
            if found.is_running and found.image.startswith(OURS)
        }
        for name, content in images.items():
            self.project.docker("tag", content, f"{name}{BEFORE}")
        return images

    def untag_images(self, images: Iterable[str]) -> None:
        """Takes the second names away again, and removes the images that neither run nor have a name any more."""
        for name in images:
            with suppress(EngineError):  # a container of another project may use it
                self.project.docker("image", "rm", f"{name}{BEFORE}")
        with suppress(EngineError):  # another command removes them at the same time
            self.project.docker("image", "prune", "--force", "--filter", OF_OURS)

    def put_images_back(self, images: Iterable[str]) -> None:
        """Makes the names stand for the images of before."""
        for name in images:
            self.project.docker("tag", f"{name}{BEFORE}", name)

    def build(self) -> None:
        """Builds what is built here, fetches the other images, and has the new preflight judge the settings."""
        self.project.compose("build")
        self.project.compose("pull", "--quiet", "--ignore-buildable", "--policy", "missing")
        self.project.compose("run", "--rm", "-T", "--no-deps", "preflight")

    def open_database(self) -> None:
        """Starts Postgres alone, where it does not run."""
        self._up("--no-deps", "postgres")

    def stop_writers(self) -> None:
        """Ends everything that writes to the databases; the replicas keep the versions that they have."""
        services = self._read_services()
        self._remove(name for name, service in services.items() if _is_ours(service) and name not in {CANARY, STABLE})

    def list_running(self) -> tuple[str, ...]:
        """The ids of the containers that run."""
        return tuple(found.container_id for found in self.project.list_containers() if found.is_running)

    def start(self, stale: Sequence[str] = (), kept: Collection[str] = ()) -> None:
        """Starts the version of the checkout: stores, migrations and programs, then one replica after the other.

        Args:
            stale: services whose mounted files have changed, which Compose does not see.
            kept: ids of containers that run this version already.
        """
        untouched = {found.service for found in self.project.list_containers() if found.container_id in kept}
        stale = [name for name in stale if name not in untouched]
        services = self._read_services()
        servers = [name for name, service in services.items() if service.get("restart") == "unless-stopped"]
        programs = [name for name in servers if name not in {CANARY, STABLE, GATEWAY}]
        self._remove(name for name in stale if name in programs)
        self._up(*programs)
        for pool in (CANARY, STABLE):
            self._replace(pool, kept)
        self._remove(name for name in stale if name == GATEWAY)
        # Its dependency has run: to run it again would take seconds in which nobody answers.
        self._up("--no-deps", "--remove-orphans", GATEWAY)

    def find_stale(self, changed: Sequence[Path]) -> list[str]:
        """The servers that mount one of some files."""
        return [
            name
            for name, service in self._read_services().items()
            if service.get("restart") == "unless-stopped"
            and any(_mounts(volume, file) for volume in service.get("volumes", ()) for file in changed)
        ]

    def _replace(self, pool: str, kept: Collection[str] = ()) -> None:
        """Replaces the replicas of a pool, one after another; the others answer meanwhile."""
        running = [found for found in self.project.list_containers() if found.service == pool and found.is_running]
        containers = [found for found in running if found.container_id not in kept]
        was_ready = any(self._is_ready(found.container_id) for found in containers)
        for container in containers:
            self.project.docker("stop", container.container_id)
            self.project.docker("rm", "--force", container.container_id)
            self._up("--no-deps", "--no-recreate", pool)
            if was_ready:
                self._await_ready(pool)
            self._pause(DNS_SECONDS)
        # An upgrade that was killed may have left a replica stopped, or none.
        self._up("--no-deps", pool)

    def _await_ready(self, pool: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            containers = [found for found in self.project.list_containers() if found.service == pool]
            if containers and all(self._is_ready(found.container_id) for found in containers):
                return
            if time.monotonic() > deadline:
                raise UpgradeError(
                    f"{pool}: expected its replicas to have a model within {READY_SECONDS:.0f} s, as before, found "
                    f"none; `docker compose logs {pool}` has the reason"
                )
            self._pause(1.0)

    def _is_ready(self, container_id: str) -> bool:
        try:
            self.project.docker("exec", container_id, "python", "-c", ASK_READY)
        except EngineError:
            return False
        return True

    def _read_services(self) -> Services:
        services: Services = self.project.read()["services"]
        return services

    def _remove(self, services: Iterable[str]) -> None:
        if chosen := sorted(services):
            self.project.compose("rm", "--stop", "--force", *chosen)

    def _up(self, *arguments: str) -> None:
        try:
            self.project.compose("up", "--detach", "--wait", "--no-build", *arguments)
        except EngineError as error:
            raise EngineError("; ".join([str(error), *self._list_causes()])) from error

    def _list_causes(self) -> list[str]:
        """The last words of each container that ended with an error."""
        with suppress(EngineError):
            ended = [found for found in self.project.list_containers() if found.exit_code and not found.is_running]
            return [f"{found.service}: {self.project.read_last_words(found)}" for found in ended]
        return []


def _is_ours(service: Mapping[str, Any]) -> bool:
    return str(service.get("image", "")).startswith(OURS)


def _mounts(volume: Mapping[str, Any], file: Path) -> bool:
    return volume.get("type") == "bind" and file.is_relative_to(volume["source"])
