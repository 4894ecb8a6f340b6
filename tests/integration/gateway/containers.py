"""The gateway and fake replicas as containers on a network of their own."""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx

REPOSITORY = Path(__file__).resolve().parents[3]
NGINX = REPOSITORY / "docker" / "nginx"
NGINX_IMAGE = "nginx:1.30.6"
PYTHON_IMAGE = "python:3.12-slim-trixie"
DEADLINE_SECONDS = 30

SETTINGS = {
    "NGINX_ENVSUBST_OUTPUT_DIR": "/tmp",
    "CANARY_PERCENT": "20",
    "RATE_LIMIT_PER_SECOND": "5000",
    "AIRFLOW_PORT": "8080",
    "MLFLOW_PORT": "5000",
    "MINIO_CONSOLE_PORT": "9001",
    "AIRFLOW_ADMIN_USERNAME": "ann",
    "MLFLOW_ADMIN_USERNAME": "max",
    "MINIO_ROOT_USER": "mia",
}
HARDENED = ["--read-only", "--tmpfs", "/tmp:mode=1777", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]


def docker(*arguments: str) -> str:
    """Runs docker and returns its output; a failure shows it."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


def wait_until(is_done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not is_done():
        assert time.monotonic() < deadline, f"expected within {DEADLINE_SECONDS} s: {what}"
        time.sleep(0.1)


class Fleet:
    """One network with replicas and gateways; `close` removes what it made and nothing else."""

    def __init__(self) -> None:
        self.network = f"gw-{secrets.token_hex(4)}"
        self._containers: list[str] = []
        docker("network", "create", self.network)

    def start_replica(self, service: str, name: str, status: int = 200, port: int = 3000) -> str:
        """Starts a replica of a service and returns its container."""
        mount = f"{Path(__file__).with_name('replica.py')}:/replica.py:ro"
        alias = ["--network-alias", service, "--volume", mount]
        return self._run([*alias, PYTHON_IMAGE, "python", "/replica.py", name, str(status), str(port)])

    def start_gateway(self, **settings: str) -> str:
        """Starts a gateway as compose does and returns its address, or raises its log."""
        container = self._run([*HARDENED, "--user", "nginx", "--publish", "127.0.0.1::8000", *_configure(settings)])
        url = f"http://{docker('port', container, '8000')}"
        wait_until(lambda: _is_alive(url), f"the gateway answers; its log: {docker('logs', container)}")
        return url

    def try_gateway(self, **settings: str) -> subprocess.CompletedProcess[str]:
        """Runs a gateway that is expected to stop at once."""
        run = ["docker", "run", "--rm", "--network", self.network, *HARDENED, "--user", "nginx", *_configure(settings)]
        return subprocess.run(run, capture_output=True, text=True, timeout=60, check=False)

    def close(self) -> None:
        if self._containers:
            docker("rm", "--force", *self._containers)
        docker("network", "rm", self.network)

    def _run(self, arguments: list[str]) -> str:
        container = f"{self.network}-{len(self._containers)}"
        docker("run", "--detach", "--init", "--name", container, "--network", self.network, *arguments)
        self._containers.append(container)
        return container


def _configure(settings: dict[str, str]) -> list[str]:
    mounts = {
        "nginx.conf": "/etc/nginx/nginx.conf",
        "check-settings.sh": "/docker-entrypoint.d/10-check-settings.sh",
        "templates": "/etc/nginx/templates",
        "html": "/usr/share/nginx/html",
    }
    arguments = [f"--volume={NGINX / name}:{target}:ro" for name, target in mounts.items()]
    return [*arguments, *(f"--env={name}={value}" for name, value in {**SETTINGS, **settings}.items()), NGINX_IMAGE]


def _is_alive(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").status_code == 200
    except httpx.TransportError:
        return False
