"""The replicas of a compose project, by the command `docker` of this machine: no container holds Docker's socket."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mlops.compose import find_reason, name_compose
from mlops.errors import ScalingError
from mlops.host import describe_shell, read_env_file
from mlops.scaling.load import REPLICA_MARK, Reading, read_text

SERVICE = "serving"
SETTING = "SERVING_REPLICAS"
PROJECT = "mlops-loop"
"""Name of the project where no setting names it."""

ALIVE = ("running", "restarting", "paused")
DOCKER_SECONDS = 300.0
"""Longest wait for Docker: a replica may take 20 s to end, and a busy machine is slow."""

READ = f"""nproc; grep MemAvailable /proc/meminfo
for address in $(getent ahostsv4 {SERVICE} | cut -d' ' -f1 | sort -u); do
  echo "{REPLICA_MARK}$address"; curl -s --max-time 5 "http://$address:3000/metrics"
done; true"""
"""Runs in the gateway's container: the replicas are on a network that this machine may not reach."""

type Run = Callable[..., subprocess.CompletedProcess[str]]


class Pool:
    """The stable replicas of the project whose settings a file holds.

    >>> Pool(Path(".env")).count()
    2
    """

    def __init__(self, env_file: Path, run: Run = subprocess.run, clock: Callable[[], float] = time.monotonic) -> None:
        self._env_file = env_file.resolve()
        self._run = run
        self._clock = clock

    @property
    def env_file(self) -> Path:
        """The file with the settings of the project."""
        return self._env_file

    @property
    def folder(self) -> Path:
        """The checkout."""
        return self._env_file.parent

    def count(self) -> int:
        """The replicas that run.

        Raises:
            ScalingError: Docker does not answer.
        """
        return len(self._list(SERVICE))

    def is_stopped(self) -> bool:
        """Whether nothing of the project runs but replicas; then somebody has stopped it.

        Raises:
            ScalingError: Docker does not answer.
        """
        return not {service for service, state, _ in self._look() if state in ALIVE} - {SERVICE}

    def read(self) -> Reading:
        """The counters of each replica, and the machine.

        Raises:
            ScalingError: the gateway's container does not run, or does not answer.
        """
        gateways = self._list("nginx")
        if not gateways:
            raise ScalingError("gateway: expected its container to run, found none; `docker compose ps nginx`")
        return read_text(self._docker("exec", gateways[0], "sh", "-c", READ), self._clock())

    def scale(self, replicas: int, *, wait: bool = False) -> None:
        """Starts or ends replicas, and nothing else; then the settings have the number, so that `make up` keeps it.

        Args:
            replicas: the number that shall run.
            wait: until the new ones are healthy.

        Raises:
            ScalingError: Docker fails, or the settings cannot be written.
        """
        options = ["--detach", "--no-deps", "--no-recreate", *(["--wait"] if wait else [])]
        self._compose("up", *options, "--scale", f"{SERVICE}={replicas}", SERVICE)
        write_number(self._env_file, replicas)
        self._tell_exporter()

    def remove_leftovers(self) -> None:
        """Ends replicas that were started while somebody stopped the project, with the networks that they held.

        Raises:
            ScalingError: Docker fails.
        """
        if {service for service, _, _ in self._look()} == {SERVICE}:
            self._compose("down")

    def _tell_exporter(self) -> None:
        """Starts the monitoring's exporter again, if there is one: it compares the replicas with its own setting."""
        label = "com.docker.compose.project.config_files"
        for exporter in self._list("exporter"):
            files = self._docker("inspect", "--format", f'{{{{index .Config.Labels "{label}"}}}}', exporter).strip()
            chosen = [part for file in files.split(",") for part in ("--file", file)]
            self._compose(*chosen, "up", "--detach", "--no-deps", "exporter")

    def _list(self, service: str) -> list[str]:
        return [name for found, state, name in self._look() if found == service and state == "running"]

    def _look(self) -> list[tuple[str, str, str]]:
        """The service, the state and the id of each container; `docker compose ps` takes ten times as long."""
        shown = '{{.Label "com.docker.compose.service"}} {{.State}} {{.ID}}'
        project = f"label=com.docker.compose.project={self._project}"
        lines = self._docker("ps", "--all", "--no-trunc", "--filter", project, "--format", shown).splitlines()
        return [(service, state, name) for service, state, name in map(str.split, lines)]

    @property
    def _project(self) -> str:
        found = read_env_file(self._env_file).get("COMPOSE_PROJECT_NAME")
        return describe_shell().get("COMPOSE_PROJECT_NAME") or found or PROJECT

    def _compose(self, *arguments: str) -> str:
        return self._docker(*name_compose(self._env_file), *arguments)

    def _docker(self, *arguments: str) -> str:
        command = ["docker", *arguments]
        # A variable of this shell would count for more than the one in the settings. A Ctrl-C does not
        # reach Docker in a session of its own; here it would kill Docker, so callers of `scale` postpone it.
        environment = describe_shell(SETTING)
        try:
            done = self._run(
                command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False,
                errors="replace", timeout=DOCKER_SECONDS, start_new_session=True,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ScalingError(f"docker: expected an answer, found {error}; `mlops doctor` looks at it") from error
        if done.returncode != 0:
            raise ScalingError(
                f"docker {' '.join(arguments[:6])}: expected exit code 0, found {done.returncode}: "
                f"{find_reason(done.stderr)}; `docker compose ps` shows the stack"
            )
        return done.stdout


def write_number(env_file: Path, replicas: int) -> None:
    """Sets `SERVING_REPLICAS` in a file of settings; every other byte, the file's owner and its mode stay.

    Raises:
        ScalingError: the file cannot be written.
    """
    line = f"{SETTING}={replicas}\n".encode()
    try:
        before = env_file.read_bytes()
        # The last one counts, as for Compose.
        places = list(re.finditer(rb"^[ \t]*%s[ \t]*=[^\n]*\n?" % SETTING.encode(), before, re.MULTILINE))
        if places:
            after = before[: places[-1].start()] + line + before[places[-1].end() :]
        else:
            after = before + (b"" if before.endswith(b"\n") or not before else b"\n") + line
        if after == before:
            return
        handle, partial = tempfile.mkstemp(dir=env_file.parent, prefix=f"{env_file.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(after)
                old = env_file.stat()
                os.fchown(file.fileno(), old.st_uid, old.st_gid)
                os.fchmod(file.fileno(), old.st_mode & 0o777)
            Path(partial).replace(env_file)
        except BaseException:  # also an interruption: the copy holds every secret
            Path(partial).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ScalingError(
            f"{env_file}: expected to set {SETTING}={replicas}, found {error.strerror}; "
            f"{replicas} replicas run, and the next `make up` goes back; set it by hand"
        ) from error
