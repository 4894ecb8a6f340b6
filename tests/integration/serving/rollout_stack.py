"""What a rollout needs, as processes: a warehouse, MLflow, a stable and a canary replica, and a stand-in for Nginx."""

from __future__ import annotations

import hashlib
import random
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, override
from urllib.parse import urlsplit

import httpx
from mlflow import MlflowClient

from ml_code.settings import Settings
from ml_code.signature import SIGNED, find_signer
from ml_code.warehouse import Warehouse
from serving.comparison.analysis import Rules
from serving.errors import NoCanaryError
from serving.fleet.replicas import DnsFleet
from serving.registry.writer import MlflowRegistryWriter
from serving.rollout import steps
from serving.rollout.control import RolloutControl, connect_registry
from serving.rollout.plan import open_rollout
from serving.rollout.rows import Rollout
from tests.integration.serving.replica import Replica, run_replica, wait_until
from tests.servers import MlflowServer, PostgresServer

STABLE_HOST, CANARY_HOST = "127.0.0.1", "127.0.0.2"
"""Two addresses with one port, as the replicas of two pools have it in Docker's network."""

CANARY_SHARE = 1 / 3

RULES = Rules(minimum_requests=60, latency_margin_ms=1000)
"""Of 60 requests the slowest ones are the p99, and two busy cores hold any of them up."""

EXACT_RULES = Rules(minimum_requests=60)
"""With the margin that users have, for a version that is to be found slow."""


class Gateway(ThreadingHTTPServer):
    """Hands a third of the predictions to the canary pool, or those that name a pool to that one."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__((STABLE_HOST, 0), _Handler)
        self.port = port
        # By chance: a fixed round falls in step with clients that take turns, and one of them meets one pool only.
        self.draws = random.Random(3)
        self.client = httpx.Client(timeout=60)
        self.answered = 0

    @property
    def url(self) -> str:
        return f"http://{STABLE_HOST}:{self.server_port}"

    def draw_pool(self) -> str:
        """The pool of one request."""
        return "canary" if self.draws.random() < CANARY_SHARE else "stable"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gateway

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        pool = self.headers.get("X-Variant") or self.server.draw_pool()
        host = CANARY_HOST if pool == "canary" else STABLE_HOST
        headers = {
            "Content-Type": "application/json",
            "X-Pool": pool,
            "X-Pool-Choice": "asked" if self.headers.get("X-Variant") else "drawn",
            # A trusted proxy says who the client is, where there is one.
            "X-Forwarded-For": self.headers.get("X-Test-Address") or self.client_address[0],
        }
        headers |= {name: self.headers[name] for name in ("X-Replay", "X-User-Id") if self.headers.get(name)}
        answer = self.server.client.post(f"http://{host}:{self.server.port}{self.path}", content=body, headers=headers)
        self.send_response(answer.status_code)
        self.send_header("Content-Length", str(len(answer.content)))
        self.send_header("X-Model-Version", answer.headers.get("X-Model-Version", ""))
        self.end_headers()
        self.wfile.write(answer.content)
        self.server.answered += 1

    @override
    def log_message(self, *_: object) -> None:
        """Says nothing."""


@dataclass(frozen=True)
class RolloutStack:
    """The running servers."""

    settings: Settings
    gateway: Gateway
    stable: Replica
    canary: Replica
    client: MlflowClient
    experiment_id: str
    log_dir: Path
    connected: list[MlflowRegistryWriter] = field(default_factory=list)

    def control(self, owner: str, **options: Any) -> RolloutControl:
        """A controller of that name."""
        password = self.settings.mlflow_password.get_secret_value()
        registry = MlflowRegistryWriter(self.settings.mlflow_url, self.settings.mlflow_username, password)
        self.connected.append(registry)
        return connect_registry(
            self.settings,
            owner,
            registry=registry,
            fleet=DnsFleet([STABLE_HOST], [CANARY_HOST], self.gateway.port),
            **{"timeout_seconds": 60.0, **options},
        )

    def register(self, content: bytes | None, *, gate: str = "passed", digest: str | None = None) -> str:
        """Makes a version of iris of a file as it is, or of none, signed as by the gate."""
        run = self.client.create_run(self.experiment_id)
        if content is not None:
            with _named_file(content) as file:
                self.client.log_artifact(run.info.run_id, str(file), "model")
        tags = {"gate": gate, "sha256": digest or hashlib.sha256(content or b"").hexdigest()}
        source = f"{run.info.artifact_uri}/model"
        version = str(self.client.create_model_version("iris", source, run.info.run_id, tags=tags).version)
        signer = find_signer(self.settings)
        assert signer is not None
        self.client.set_model_version_tag("iris", version, SIGNED, signer.sign_version("iris", version, tags))
        return version

    def served(self) -> dict[str, dict[str, str]]:
        """The version of iris by variant, on each replica."""
        found = {}
        for name, replica in (("stable", self.stable), ("canary", self.canary)):
            models = httpx.get(f"{replica.url}/models").json()["models"]
            found[name] = {model["variant"]: model["version"] for model in models if model["name"] == "iris"}
        return found

    def aliases(self) -> Mapping[str, str]:
        """The version that each alias names."""
        return {alias: str(version) for alias, version in self.client.get_registered_model("iris").aliases.items()}

    def version_tags(self, version: str) -> Mapping[str, str]:
        """The tags of a version."""
        return self.client.get_model_version("iris", version).tags


def measure_window(stack: RolloutStack, requests: int, least_seconds: float) -> float:
    """Seconds in which those who ask now get so many answers: a slow machine needs a longer window for them."""
    before, started = stack.gateway.answered, time.monotonic()
    wait_until(lambda: stack.gateway.answered - before >= requests / 4, lambda: stack.gateway.answered - before)
    return max(least_seconds, 4 * (time.monotonic() - started))


def roll_out(
    stack: RolloutStack,
    version: str,
    *,
    window_seconds: float = 4.0,
    owner: str | None = None,
    rules: Rules = RULES,
) -> Rollout:
    """What the DAG does."""
    control = stack.control(owner or f"test/{version}/{time.monotonic()}")
    number = open_rollout(control, "iris", version).rollout_id
    steps.validate_artifact(control, number)
    try:
        steps.start_canary(control, number)
        steps.wait_for_canary(control, number)
        steps.analyse_canary(control, number, rules, window_seconds)
    except NoCanaryError:
        pass
    steps.promote(control, number)
    steps.wait_for_fleet(control, number)
    steps.verify_through_gateway(control, number)
    return control.rows.read(number)


@contextmanager
def run_rollout_stack(
    folder: Path, settings: Settings, mlflow: MlflowServer, postgres: PostgresServer
) -> Iterator[RolloutStack]:
    """Runs all of it, with a warehouse and an experiment of its own."""
    name = f"rollouts_{secrets.token_hex(4)}"
    dsn = postgres.create_database(name)
    Warehouse(dsn).migrate()
    password = mlflow.passwords["serving"]
    with ExitStack() as stack:
        (folder / "stable").mkdir()
        (folder / "canary").mkdir()
        stable = stack.enter_context(run_replica(folder / "stable", mlflow.url, password))
        port = urlsplit(stable.url).port or 0
        canary = stack.enter_context(
            run_replica(
                folder / "canary",
                *(mlflow.url, password),
                SERVING_POOL="canary",
                SERVING_HOST=CANARY_HOST,
                SERVING_PORT=str(port),
                SERVING_PREDICTION_LOG_DIR=str(folder / "log"),
            )
        )
        gateway = stack.enter_context(_run_gateway(port))
        client = MlflowClient(mlflow.url)
        client.create_registered_model("iris")
        of_warehouse = {"warehouse_dsn": type(settings.mlflow_password)(dsn), "gateway_url": gateway.url}
        experiment_id = client.create_experiment(name)
        rollouts = RolloutStack(
            settings.model_copy(update=of_warehouse), gateway, stable, canary, client, experiment_id, folder / "log"
        )
        try:
            yield rollouts
        finally:
            for registry in rollouts.connected:
                registry.close()


@contextmanager
def _run_gateway(port: int) -> Iterator[Gateway]:
    gateway = Gateway(port)
    thread = threading.Thread(target=gateway.serve_forever)
    thread.start()
    try:
        yield gateway
    finally:
        gateway.shutdown()
        thread.join()
        gateway.server_close()
        gateway.client.close()


@contextmanager
def _named_file(content: bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        file.write_bytes(content)
        yield file
