"""The compose project as a user has it, and the addresses at which it is reached from here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
from dotenv import dotenv_values

IMAGES = ("airflow", "mlflow", "serving")
WITH_CELERY = ("--file", "docker-compose.yaml", "--file", "docker/celery/compose.yaml")
"""What `make up PROFILE=celery` adds to the command."""
WITH_OBSERVABILITY = ("--file", "docker-compose.yaml", "--file", "docker/observability/compose.yaml")

ASK_FLEET = """
import json, socket, sys, urllib.error, urllib.request
addresses = set()
for name in ("serving", "serving-canary"):
    try:
        addresses |= {answer[4][0] for answer in socket.getaddrinfo(name, 3000, socket.AF_INET)}
    except socket.gaierror:
        pass
answers = {}
for address in sorted(addresses):
    try:
        text = urllib.request.urlopen(f"http://{address}:3000{sys.argv[1]}", timeout=5).read().decode()
    except urllib.error.HTTPError as error:
        text = error.read().decode()
    except OSError:
        text = "null"
    try:
        answers[address] = json.loads(text)
    except ValueError:
        answers[address] = text
print(json.dumps(answers))
"""
"""Runs in a replica: the replicas are on a network that this machine may not reach."""


def docker(*arguments: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs docker; a failure says what docker said. Bytes that are not text are replaced."""
    done = subprocess.run(
        ["docker", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=600,
        check=False,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"docker {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done


class Stack:
    """One compose project, which the .env of its folder names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def environment(self) -> dict[str, str]:
        """The variables of .env."""
        return {name: value or "" for name, value in dotenv_values(self.folder / ".env", interpolate=False).items()}

    @property
    def project(self) -> str:
        """What the names of its containers begin with."""
        return self.environment["COMPOSE_PROJECT_NAME"]

    def compose(
        self, *arguments: str, stdin: str | None = None, timeout: float = 600, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Runs `docker compose` on the project; its output stands in the result."""
        done = subprocess.run(
            ["docker", "compose", "--project-name", self.project, *arguments],
            cwd=self.folder,
            # A variable of the caller's shell would count for more than the one in .env.
            env={name: value for name, value in os.environ.items() if name not in self.environment},
            input=stdin,
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check and done.returncode != 0:
            logs = self.compose("logs", "--tail", "40", check=False).stdout if arguments[0] == "up" else ""
            raise AssertionError(f"docker compose {' '.join(arguments)}: {done.stdout}{done.stderr}\n{logs}")
        return done

    def up(self) -> None:
        """Starts everything and waits until it is healthy."""
        self.compose("up", "--detach", "--wait", "--build", timeout=1500)

    def port(self, variable: str) -> int:
        """The port that a variable of .env names."""
        return int(self.environment[variable])

    @property
    def gateway(self) -> str:
        """Base URL of Nginx."""
        return f"http://127.0.0.1:{self.port('GATEWAY_PORT')}"

    @property
    def mlflow(self) -> str:
        """Base URL of MLflow."""
        return f"http://127.0.0.1:{self.port('MLFLOW_PORT')}"

    def mlops(self, *arguments: str, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        """What a person types on the host, whose settings and catalog are those of the copy."""
        return subprocess.run(
            self._mlops_command(arguments),
            env=self._host_environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd=self.folder,
        )

    def start_mlops(self, *arguments: str) -> subprocess.Popen[str]:
        """The same, while the caller goes on; what it prints is short enough for a pipe."""
        return subprocess.Popen(
            self._mlops_command(arguments),
            env=self._host_environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
        )

    @staticmethod
    def _mlops_command(arguments: Sequence[str]) -> list[str]:
        return [str(Path(sys.executable).with_name("mlops")), *arguments]

    @property
    def _host_environment(self) -> dict[str, str]:
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.folder),
            "MLOPS_MLFLOW_URL": self.mlflow,
            "MLOPS_MLFLOW_USERNAME": "trainer",
            "MLOPS_MLFLOW_PASSWORD": self.environment["MLFLOW_TRAINER_PASSWORD"],
            "MLOPS_GATE_SIGNING_KEY": self.environment["GATE_SIGNING_KEY"],
            "MLOPS_S3_ENDPOINT_URL": f"http://127.0.0.1:{self.port('MINIO_PORT')}",
            "MLOPS_S3_ACCESS_KEY": self.environment["S3_TASKS_USER"],
            "MLOPS_S3_SECRET_KEY": self.environment["S3_TASKS_PASSWORD"],
            "MLOPS_WAREHOUSE_DSN": f"postgresql://warehouse:{self.environment['WAREHOUSE_DB_PASSWORD']}"
            f"@127.0.0.1:{self.port('POSTGRES_PORT')}/warehouse",
            "MLOPS_GATEWAY_URL": self.gateway,
            "MLOPS_AIRFLOW_URL": f"http://127.0.0.1:{self.port('AIRFLOW_PORT')}",
            "MLOPS_AIRFLOW_USERNAME": self.environment["AIRFLOW_ADMIN_USERNAME"],
            "MLOPS_AIRFLOW_PASSWORD": self.environment["AIRFLOW_ADMIN_PASSWORD"],
            "MLOPS_CATALOG_DIR": str(self.folder / "ml_code" / "catalog"),
        }

    def containers(self, service: str) -> list[str]:
        """Ids of a service's running containers."""
        return self.compose("ps", "--quiet", service).stdout.split()

    def list_names(self, *kind: str) -> list[str]:
        """Ids of what the stack has of a kind: containers, volumes or networks."""
        label = f"label=com.docker.compose.project={self.project}"
        return docker(*kind, "--quiet", "--filter", label).stdout.split()

    def ask_fleet(self, path: str) -> dict[str, Any]:
        """What each replica that DNS lists answers to a path, by its address; JSON, or text, or None for silence."""
        for service in ("serving-canary", "serving"):
            for container in self.containers(service):
                done = docker("exec", "--interactive", container, "python", "-", path, stdin=ASK_FLEET, check=False)
                if done.returncode == 0:
                    answers: dict[str, Any] = json.loads(done.stdout)
                    return answers
        return {}

    def predict(self, body: object, *, model: str | None = None, **headers: str) -> httpx.Response:
        """Posts rows to /predict, or to a model's own path, through the gateway."""
        path = f"/models/{model}/predict" if model else "/predict"
        return httpx.post(f"{self.gateway}{path}", json=body, headers=headers, timeout=60)

    def read_version(self, model: str, row: object) -> str | None:
        """The version that answers a row; None while none does."""
        answer = self.predict([row], model=model)
        return answer.headers["X-Model-Version"] if answer.status_code == 200 else None

    def query_warehouse(self, sql: str) -> str:
        """What a query of the warehouse finds, as text."""
        command = ["exec", "-T", "postgres", "psql", "-U", "postgres", "-d", "warehouse", "-Atc", sql]
        return self.compose(*command).stdout.strip()

    def read_versions(self) -> dict[str, str]:
        """The champion of every model that the gateway lists."""
        models = httpx.get(f"{self.gateway}/models", timeout=60).json()["models"]
        return {model["name"]: model["version"] for model in models}
