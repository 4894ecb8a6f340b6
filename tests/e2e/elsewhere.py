"""A worker on another host, as a compose project of its own: its network is not the stack's, nor are its names."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.e2e.own_copy import REPOSITORY
from tests.e2e.stack import WITH_CELERY, Stack, docker

WITH_HOSTS = (*WITH_CELERY, "--file", "docker/hosts/compose.yaml")
"""What `make up PROFILE="celery hosts"` adds to the command."""


class Elsewhere:
    """The other host: docker/celery/worker.yaml, and beside it what `mlops worker env` prints."""

    def __init__(self, stack: Stack, folder: Path, address: str) -> None:
        self.project = f"{stack.project}-elsewhere"
        self._folder = folder
        (folder / "worker.yaml").write_bytes((REPOSITORY / "docker/celery/worker.yaml").read_bytes())
        command = ("worker", "env", "--host", address, "--env-file", str(stack.folder / ".env"))
        told = stack.mlops(*command)
        assert told.returncode == 0, told.stderr
        (folder / ".env").write_text(told.stdout)

    def compose(self, *arguments: str, check: bool = True, **changes: str) -> subprocess.CompletedProcess[str]:
        """Runs `docker compose` there; `changes` count for more than .env."""
        done = subprocess.run(
            ["docker", "compose", "--project-name", self.project, "--file", "worker.yaml", *arguments],
            cwd=self._folder,
            env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **changes},
            check=False,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0 or not check, f"{arguments}: {done.stdout}{done.stderr}"
        return done

    def start(self) -> str:
        """Starts the worker, waits until it takes tasks, and returns its container."""
        self.compose("up", "--detach", "--wait")
        return self.compose("ps", "--quiet", "airflow-worker").stdout.strip()

    def run(self, *command: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in a container of the worker's; without one it is the worker itself."""
        return self.compose("run", "--rm", "airflow-worker", *command, check=False, **changes)

    def end(self) -> None:
        """Removes the worker with its network and volume."""
        self.compose("down", "--volumes", "--timeout", "60")


def make_other_release(image: str) -> str:
    """Builds an image with one more line of code, and returns its tag."""
    name, _, tag = image.partition(":")
    dockerfile = f"FROM {image}\nUSER root\nRUN echo '# another' >> /opt/mlops/ml_code/errors.py\nUSER airflow\n"
    docker("build", "--quiet", "--tag", f"{name}:{tag}-other", "-", stdin=dockerfile)
    return f"{tag}-other"
