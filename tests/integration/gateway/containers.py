"""The gateway and fake replicas as containers on a network of their own."""

from __future__ import annotations

import os
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
DEADLINE_SECONDS = 120

SETTINGS = {
    "NGINX_ENVSUBST_OUTPUT_DIR": "/tmp",
    "CANARY_PERCENT": "20",
    "RATE_LIMIT_PER_SECOND": "5000",
    "AIRFLOW_PORT": "8080",
    "MLFLOW_PORT": "5000",
    "MINIO_CONSOLE_PORT": "9001",
    "PUBLIC_HOST": "localhost",
    "GATEWAY_PORT": "8000",
}
USER = ("--user", f"{os.getuid() or 50000}:0")
"""The owner of the folder of secrets, as compose has it."""
HARDENED = [
    *("--read-only", "--tmpfs", "/tmp:mode=1777,size=16m", "--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges", "--memory", "768m"),
]


def docker(*arguments: str) -> str:
    """Runs docker and returns its output; a failure shows it."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


def read_log(container: str) -> str:
    """What a container wrote, on both of its streams."""
    done = subprocess.run(["docker", "logs", container], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def wait_until(
    is_done: Callable[[], bool], what: str, seconds: float = DEADLINE_SECONDS, explain: Callable[[], str] = str
) -> None:
    deadline = time.monotonic() + seconds
    while not is_done():
        assert time.monotonic() < deadline, f"expected within {seconds} s: {what}; {explain()}"
        time.sleep(0.1)


class Fleet:
    """One network with replicas and gateways; `close` removes what it made and nothing else."""

    def __init__(self) -> None:
        self.network = f"gw-{secrets.token_hex(4)}"
        self._containers: list[str] = []
        self.gateway = ""
        docker("network", "create", self.network)

    def start_replica(self, service: str, name: str, status: int = 200, port: int = 3000) -> str:
        """Starts a replica of a service and returns its container."""
        mount = f"{Path(__file__).with_name('replica.py')}:/replica.py:ro"
        alias = ["--network-alias", service, "--volume", mount]
        return self._run([*alias, PYTHON_IMAGE, "python", "/replica.py", name, str(status), str(port)])

    def start_forwarder(self, service: str, socket: Path, port: int = 3000) -> str:
        """Starts a container that answers as a service, with what listens at a socket of this machine; returns it."""
        mounts = [f"--volume={Path(__file__).with_name('forwarder.py')}:/forwarder.py:ro"]
        mounts += [f"--volume={socket.parent}:/sockets", "--network-alias", service]
        return self._run([*mounts, PYTHON_IMAGE, "python", "/forwarder.py", str(port), f"/sockets/{socket.name}"])

    def start_gateway(
        self, secrets_folder: Path | None = None, loop_folder: Path | None = None, **settings: str
    ) -> str:
        """Starts a gateway as compose does and returns its address, or raises its log."""
        mount = [f"--volume={secrets_folder}:/etc/nginx/secrets:ro"] if secrets_folder else []
        mount += [f"--volume={loop_folder}:/var/lib/loop-status:ro"] if loop_folder else []
        self.gateway = self._run([*HARDENED, *USER, *mount, "--publish", "127.0.0.1::8000", *_configure(settings)])
        url = f"http{'s' if settings.get('TLS') == 'on' else ''}://{docker('port', self.gateway, '8000')}"
        wait_until(lambda: _is_alive(url), "the gateway answers", explain=lambda: read_log(self.gateway))
        return url

    def start_attacker(self, kind: str, connections: int, seconds: int) -> str:
        """Starts a client that the gateway sees at an address of its own, and returns its container."""
        mount = f"{Path(__file__).with_name('attacker.py')}:/attacker.py:ro"
        attack = [kind, self.gateway, str(connections), str(seconds)]
        return self._run(["--volume", mount, PYTHON_IMAGE, "python", "-u", "/attacker.py", *attack])

    def try_gateway(self, **settings: str) -> subprocess.CompletedProcess[str]:
        """Runs a gateway that is expected to stop at once."""
        run = ["docker", "run", "--rm", "--network", self.network, *HARDENED, *USER, *_configure(settings)]
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
        "share-connections.sh": "/docker-entrypoint.d/11-share-connections.sh",
        "start-secrets.sh": "/docker-entrypoint.d/12-start-secrets.sh",
        "open-door.sh": "/docker-entrypoint.d/13-open-door.sh",
        "tls.conf": "/etc/nginx/tls.conf",
        "grpc": "/etc/nginx/grpc",
        "programs": "/opt/gateway",
        "templates": "/etc/nginx/templates",
        "html": "/usr/share/nginx/html",
    }
    arguments = [f"--volume={NGINX / name}:{target}:ro" for name, target in mounts.items()]
    return [*arguments, *(f"--env={name}={value}" for name, value in {**SETTINGS, **settings}.items()), NGINX_IMAGE]


def _is_alive(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", verify=False).status_code == 200
    except httpx.TransportError:
        return False
