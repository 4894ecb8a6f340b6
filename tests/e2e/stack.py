"""The compose project as a user has it, in a copy of the repository with its own ports."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from tests.waiting import wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = "mlops-loop-e2e"
PORT_OFFSET = 10_000
RESTART_SECONDS = 30


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
    """Runs docker; a failure says what docker said."""
    done = subprocess.run(["docker", *arguments], input=stdin, capture_output=True, text=True, timeout=120, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"docker {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done


class Stack:
    """One compose project and the addresses at which it is reached from here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment: dict[str, str] = {}

    def create(self) -> None:
        """Copies what git knows, writes .env as `make env` does, and moves every port out of the way."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=REPOSITORY,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for name in filter(None, listed.split("\0")):
            if (REPOSITORY / name).is_file():
                target = self.folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / name, target)
        subprocess.run(["docker/bin/env.sh"], cwd=self.folder, check=True)
        lines = (self.folder / ".env").read_text().splitlines()
        (self.folder / ".env").write_text("\n".join(_move_port(line) for line in lines) + "\n")
        self.environment = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))

    def compose(self, *arguments: str, timeout: float = 600, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs `docker compose` on the project; its output stands in the result."""
        done = subprocess.run(
            ["docker", "compose", "--project-name", PROJECT, *arguments],
            cwd=self.folder,
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
        """The moved port of a variable of .env."""
        return int(self.environment[variable]) + PORT_OFFSET

    @property
    def gateway(self) -> str:
        """Base URL of Nginx."""
        return f"http://127.0.0.1:{self.port('GATEWAY_PORT')}"

    @property
    def mlflow(self) -> str:
        """Base URL of MLflow."""
        return f"http://127.0.0.1:{self.port('MLFLOW_PORT')}"

    def mlops(self, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """What a person types on the host, whose settings and catalog are those of the copy."""
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.folder),
            "MLOPS_MLFLOW_URL": self.mlflow,
            "MLOPS_MLFLOW_USERNAME": "trainer",
            "MLOPS_MLFLOW_PASSWORD": self.environment["MLFLOW_TRAINER_PASSWORD"],
            "MLOPS_S3_ENDPOINT_URL": f"http://127.0.0.1:{self.port('MINIO_PORT')}",
            "MLOPS_S3_ACCESS_KEY": self.environment["MINIO_ROOT_USER"],
            "MLOPS_S3_SECRET_KEY": self.environment["MINIO_ROOT_PASSWORD"],
            "MLOPS_WAREHOUSE_DSN": f"postgresql://warehouse:{self.environment['WAREHOUSE_DB_PASSWORD']}"
            f"@127.0.0.1:{self.port('POSTGRES_PORT')}/warehouse",
            "MLOPS_GATEWAY_URL": self.gateway,
            "MLOPS_CATALOG_DIR": str(self.folder / "ml_code" / "catalog"),
        }
        command = [str(Path(sys.executable).with_name("mlops")), *arguments]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=timeout, check=False, cwd=self.folder
        )

    def containers(self, service: str) -> list[str]:
        """Ids of a service's running containers."""
        return self.compose("ps", "--quiet", service).stdout.split()

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
        return httpx.post(f"{self.gateway}{path}", json=body, headers=headers, timeout=20)

    def read_version(self, model: str, row: object) -> str | None:
        """The version that answers a row; None while none does."""
        answer = self.predict([row], model=model)
        return answer.headers["X-Model-Version"] if answer.status_code == 200 else None


class Airflow:
    """Airflow's REST API, logged in as the admin."""

    def __init__(self, stack: Stack) -> None:
        base = f"http://127.0.0.1:{stack.port('AIRFLOW_PORT')}"
        self.login = {
            "username": stack.environment["AIRFLOW_ADMIN_USERNAME"],
            "password": stack.environment["AIRFLOW_ADMIN_PASSWORD"],
        }
        token = httpx.post(f"{base}/auth/token", json=self.login, timeout=60)
        assert token.status_code == 201, token.text
        headers = {"Authorization": f"Bearer {token.json()['access_token']}"}
        self.client = httpx.Client(base_url=f"{base}/api/v2", headers=headers, timeout=60)

    def close(self) -> None:
        """Closes the connections."""
        self.client.close()

    def get(self, path: str, **query: str | int) -> dict:
        """Reads one resource; asks again for a while, because a database that restarts makes it answer 500."""
        for attempt in range(RESTART_SECONDS):
            answer = self.client.get(path, params=query)
            if answer.status_code < 500:
                break
            time.sleep(1 if attempt < RESTART_SECONDS - 1 else 0)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def trigger(self, dag_id: str, **conf: object) -> str:
        """Starts a run by hand and returns its id."""
        answer = self.client.post(f"/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf})
        assert answer.status_code == 200, answer.text
        return answer.json()["dag_run_id"]

    def unpause(self, dag_id: str) -> None:
        """Lets a DAG run."""
        self.client.patch(f"/dags/{dag_id}", json={"is_paused": False}).raise_for_status()

    def run(self, dag_id: str, **conf: object) -> str:
        """Starts a run by hand, waits for its end and expects it to be a success; returns its id."""
        self.unpause(dag_id)
        run_id = self.trigger(dag_id, **conf)
        state = self.wait_for_run(dag_id, run_id)
        assert state == "success", self.task_states(dag_id, run_id)
        return run_id

    def wait_for_run(self, dag_id: str, run_id: str, seconds: float = 600) -> str:
        """Waits until a run has ended and returns its state."""
        return wait_until(
            lambda: self._ended(dag_id, run_id),
            seconds,
            lambda: f"{dag_id} {run_id} ends; {self.task_states(dag_id, run_id)}",
        )

    def _ended(self, dag_id: str, run_id: str) -> str | None:
        state = self.get(f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}")["state"]
        return state if state in {"success", "failed"} else None

    def task_states(self, dag_id: str, run_id: str) -> dict[str, tuple[str, str | None]]:
        """State and label of every task of a run, by its id and, where it is mapped, its index."""
        tasks = self.get(f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances")["task_instances"]
        return {_name_task(task): (task["state"], task["rendered_map_index"]) for task in tasks}

    def read_question(self, dag_id: str, run_id: str) -> dict[str, Any] | None:
        """What a person is asked under *Required actions* by a task of a run; None while nobody is."""
        found = self.get(f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/hitlDetails")["hitl_details"]
        return found[0] if found else None

    def answer(self, question: dict[str, Any], option: str) -> None:
        """Decides as a person does in the UI."""
        task = question["task_instance"]
        path = f"/dags/{task['dag_id']}/dagRuns/{quote(task['dag_run_id'], safe='')}/taskInstances/{task['task_id']}"
        body = {"chosen_options": [option], "params_input": {}}
        self.client.patch(f"{path}/{task['map_index']}/hitlDetails", json=body).raise_for_status()

    def log(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1, attempt: int = 1) -> str:
        """The text of one task's log."""
        path = f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances/{task_id}/logs/{attempt}"
        answer = self.client.get(path, params={"map_index": map_index}, headers={"Accept": "application/json"})
        return "\n".join(_read_event(event) for event in answer.json().get("content", []))


def _name_task(task: dict) -> str:
    return task["task_id"] if task["map_index"] == -1 else f"{task['task_id']}[{task['map_index']}]"


def _read_event(event: str | dict) -> str:
    if isinstance(event, str):
        return event
    details = "; ".join(f"{error['exc_type']}: {error['exc_value']}" for error in event.get("error_detail", []))
    return f"{event['event']} {details}"


def _move_port(line: str) -> str:
    name, _, value = line.partition("=")
    return f"{name}={int(value) + PORT_OFFSET}" if name.endswith("_PORT") else line
