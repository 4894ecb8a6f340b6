"""Registers model files in the stack's MLflow as a training does, good ones and bad ones."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import onnx

from ml_code.signature import SIGNED, Signer
from tests.e2e.stack import Stack
from tests.unit.serving.onnx_files import make_classifier
from tests.waiting import wait_until

EXPERIMENT = "reliability"


class Publisher:
    """MLflow's REST API as the trainer; it uploads a bad file unchanged."""

    def __init__(self, stack: Stack, model: str = "iris") -> None:
        self._stack = stack
        self.model = model
        self._signer = Signer(stack.environment["GATE_SIGNING_KEY"].encode())
        login = ("trainer", stack.environment["MLFLOW_TRAINER_PASSWORD"])
        self._client = httpx.Client(base_url=f"{stack.mlflow}/api/2.0", auth=login, timeout=60)

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def publish(self, content: bytes | None, *, digest: str | None = None, **tags: str) -> str:
        """Makes a version that has passed the gate; without content its file is missing."""
        run = self._post("mlflow/runs/create", experiment_id=self._find_experiment(), start_time=0)["run"]["info"]
        source = f"{run['artifact_uri']}/model"
        if content is not None:
            path = source.removeprefix("mlflow-artifacts:/")
            answer = self._client.put(f"/mlflow-artifacts/artifacts/{path}/model.onnx", content=content)
            answer.raise_for_status()
        self._client.post("/mlflow/registered-models/create", json={"name": self.model})  # there already, mostly
        found = {"sha256": digest or hashlib.sha256(content or b"").hexdigest(), "gate": "passed", **tags}
        created = self._post(
            "mlflow/model-versions/create",
            name=self.model,
            source=source,
            run_id=run["run_id"],
            tags=[{"key": key, "value": value} for key, value in found.items()],
        )
        version = str(created["model_version"]["version"])
        token = self._signer.sign_version(self.model, version, found)
        self._post("mlflow/model-versions/set-tag", name=self.model, version=version, key=SIGNED, value=token)
        return version

    def move(self, alias: str, version: str) -> None:
        """Points an alias at a version, as by hand."""
        self._post("mlflow/registered-models/alias", name=self.model, alias=alias, version=version)

    def serve(self, version: str, seconds: float = 300) -> None:
        """Makes a version the champion by hand and waits until every replica answers with it."""
        self.move("champion", version)
        wait_until(lambda: self.read_fleet() == {version}, seconds, f"every replica answers with {version}")

    def open_canary(self, version: str, minutes: float = 5) -> None:
        """Serves a version from the canary pool, without a rollout."""
        until = datetime.now(UTC) + timedelta(minutes=minutes)
        self._post("mlflow/registered-models/set-tag", name=self.model, key="canary_until", value=until.isoformat())
        self.move("challenger", version)

    def close_canary(self) -> None:
        """The opposite; the canary pool answers with the champion again when this returns."""
        self.withdraw("challenger")
        self._delete("delete-tag", key="canary_until")
        wait_until(lambda: not self._read_challengers(), 120, "no replica answers with a challenger")

    def withdraw(self, alias: str) -> None:
        """Deletes an alias, as by hand."""
        self._delete("alias", alias=alias)

    def exists(self) -> bool:
        """Whether the model is registered."""
        answer = self._client.get("/mlflow/registered-models/get", params={"name": self.model})
        return answer.status_code == httpx.codes.OK

    def read_model(self) -> dict[str, Any]:
        """The registered model: its aliases by name, its tags by key."""
        answer = self._client.get("/mlflow/registered-models/get", params={"name": self.model}).raise_for_status()
        model = answer.json()["registered_model"]
        return {
            "aliases": {entry["alias"]: str(entry["version"]) for entry in model.get("aliases", [])},
            "tags": {tag["key"]: tag["value"] for tag in model.get("tags", [])},
        }

    def list_runs(self) -> list[str]:
        """The run that made each of the newest thousand versions."""
        asked = {"filter": f"name='{self.model}'", "max_results": 1000}
        answer = self._client.get("/mlflow/model-versions/search", params=asked).raise_for_status()
        return [version["run_id"] for version in answer.json()["model_versions"]]

    def read_fleet(self) -> set[str | None]:
        """The champions that the replicas answer with: one, when all agree."""
        return {find_version(state, self.model) for state in self._stack.ask_fleet("/readyz").values()}

    def _read_challengers(self) -> list[str]:
        states = self._stack.ask_fleet("/readyz").values()
        return [found for state in states if (found := find_version(state, self.model, "challenger"))]

    def _find_experiment(self) -> str:
        found = self._client.get("/mlflow/experiments/get-by-name", params={"experiment_name": EXPERIMENT})
        if found.status_code == httpx.codes.OK:
            return str(found.json()["experiment"]["experiment_id"])
        return str(self._post("mlflow/experiments/create", name=EXPERIMENT)["experiment_id"])

    def _delete(self, path: str, **body: str) -> None:
        found = body | {"name": self.model}
        self._client.request("DELETE", f"/mlflow/registered-models/{path}", json=found).raise_for_status()

    def _post(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self._client.post(f"/{path}", json=body)
        assert answer.status_code == httpx.codes.OK, f"{path}: {answer.status_code} {answer.text}"
        result: dict[str, Any] = answer.json()
        return result


def find_version(state: dict[str, Any] | None, model: str, variant: str = "champion") -> str | None:
    """The version of a replica's champion or challenger, of the body of its `/readyz`."""
    models = (state or {}).get("models", [])
    return next((m["version"] for m in models if m["name"] == model and m["variant"] == variant), None)


def make_good() -> bytes:
    """A sound file whose bytes nobody has seen before, so that replicas have to fetch and open it."""
    model = onnx.load_from_string(make_classifier())
    model.doc_string = f"made at {time.time_ns()}"
    content: bytes = model.SerializeToString()
    return content
