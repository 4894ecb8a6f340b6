"""A replica of the prediction service as a process, started as its container starts it."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from serving.answering.served import Version
from serving.following.model_files import ModelFiles
from tests.ports import free_port
from tests.processes import run_process
from tests.unit.serving.onnx_files import make_classifier, make_mixed_regressor

START_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Replica:
    """A running replica."""

    url: str
    process_id: int
    log: Path

    def versions(self) -> dict[str, str]:
        """The champion's version of each model that answers."""
        models: list[dict[str, str]] = httpx.get(f"{self.url}/models").json()["models"]
        return {model["name"]: model["version"] for model in models if model["variant"] == "champion"}

    def readiness(self) -> dict[str, Any]:
        """The body of `/readyz`."""
        state: dict[str, Any] = httpx.get(f"{self.url}/readyz").json()
        return state

    def predict(self, rows: Any = ((5.1, 3.5, 1.4, 0.2),), **headers: str) -> httpx.Response:
        """Asks the default model."""
        return httpx.post(f"{self.url}/predict", json=rows, headers=headers)


@contextmanager
def run_replica(folder: Path, mlflow_url: str, password: str, **settings: str) -> Iterator[Replica]:
    """Runs a replica on a state directory, and waits until it is alive."""
    with start_replica(folder, mlflow_url, password, **settings) as replica:
        wait_until(lambda: _is_alive(replica.url), lambda: replica.log.read_text(errors="replace")[-3000:])
        yield replica


@contextmanager
def start_replica(folder: Path, mlflow_url: str, password: str, **settings: str) -> Iterator[Replica]:
    """Runs a replica on a state directory, and waits for nothing."""
    environment = {
        **os.environ,
        "SERVING_MLFLOW_URL": mlflow_url,
        "SERVING_MLFLOW_USERNAME": "serving",
        "SERVING_MLFLOW_PASSWORD": password,
        "SERVING_STATE_DIR": str(folder / "state"),
        "SERVING_REPLICA": "one",
        "SERVING_HOST": "127.0.0.1",
        "SERVING_PORT": str(free_port()),
        "SERVING_POLL_SECONDS": "0.3",
        "BENTOML_HOME": str(folder / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "true",
        **settings,
    }
    log = folder / "replica.log"
    with run_process([sys.executable, "-m", "serving"], log, env=environment) as process:
        yield Replica(f"http://{environment['SERVING_HOST']}:{environment['SERVING_PORT']}", process.pid, log)


MODELS = {"iris": make_classifier, "ships": make_mixed_regressor}


def store_models(folder: Path, models: Mapping[str, Callable[[], bytes]] = MODELS) -> Path:
    """Puts models where a replica finds them as served last, and returns the catalog that has them."""
    files = ModelFiles(folder / "state", "other")
    catalog = folder / "catalog"
    catalog.mkdir()
    for name, make in models.items():
        content = make()
        (catalog / f"{name}.toml").touch()
        digest = hashlib.sha256(content).hexdigest()
        temporary = files.temporary_path()
        temporary.write_bytes(content)
        files.keep(temporary, digest)
        files.record(Version(name, "1", digest), "2026-11-20T00:00:00+00:00")
    return catalog


def wait_until(is_true: Callable[[], bool], describe: Callable[[], object], seconds: float = START_SECONDS) -> None:
    """Waits for a condition; an AssertionError says what was there instead."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, f"not so after {seconds} s: {describe()}"
        time.sleep(0.1)


def _is_alive(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=30).status_code == 200
    except httpx.HTTPError:
        return False
