"""Versions of registered models in MLflow."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature, infer_signature

from ml_code.errors import TrackingError
from ml_code.model_file.feed import feed_columns
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.tracking.connection import SHA256, Connection, check_digest, quote, read_pages
from ml_code.tracking.provenance import list_libraries, pin_requirements

PAGE_SIZE = 1000
"""Versions per call."""

SERVING_REQUIREMENTS = ("onnx", "onnxruntime", "numpy", "pandas")


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """One version of a registered model."""

    name: str
    version: str
    run_id: str
    tags: Mapping[str, str]
    created_at: datetime | None = None


class VersionTracker(Connection):
    """The versions of registered models."""

    def read_aliases(self, name: str) -> dict[str, str]:
        """Reads the versions by alias; empty if there is no such model."""
        with self._explained(f"model {name}"):
            try:
                return {
                    alias: str(version) for alias, version in self._client.get_registered_model(name).aliases.items()
                }
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return {}
                raise

    def read_version(self, name: str, version: str) -> VersionRecord:
        """Reads one version."""
        with self._explained(f"version {version} of {name}"):
            return _read_version(self._client.get_model_version(name, version))

    def list_versions(self, name: str, run_id: str | None = None) -> list[VersionRecord]:
        """Lists the versions of a model, or only those of one run, the newest first."""
        of_run = f" and run_id = '{run_id}'" if run_id else ""
        with self._explained(f"versions of {name}"):
            search = partial(
                self._client.search_model_versions, f"name = '{quote(name)}'{of_run}", max_results=PAGE_SIZE
            )
            found = read_pages(lambda token: search(page_token=token))
        records = [_read_version(entry) for entry in found]
        return sorted(records, key=lambda record: int(record.version), reverse=True)

    def read_model_file(self, name: str, version: str) -> bytes:
        """Reads the model file of a version.

        Raises:
            TrackingError: the version has no `model.onnx`.
            DigestError: the file's sha256 is not the version's, or the version has none.
        """
        subject = f"model file of {name} version {version}"
        record = self.read_version(name, version)
        with self._explained(subject), tempfile.TemporaryDirectory() as folder:
            uri = f"models:/{name}/{version}"
            path = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder)) / "model.onnx"
            if not path.is_file():
                raise TrackingError(f"{subject}: found no model.onnx, expected one; register an ONNX model")
            content = path.read_bytes()
        return check_digest(content, record.tags.get(SHA256), subject)

    def register(self, name: str, run_id: str, content: bytes, example: pd.DataFrame, tags: Mapping[str, str]) -> str:
        """Creates a version of the exact bytes, or returns the existing version of this run; moves no alias."""
        existing = self.list_versions(name, run_id)
        if existing:
            return existing[0].version
        proto = onnx.load_from_string(content)
        if proto.SerializeToString() != content:
            raise TrackingError(
                f"model file of run {run_id}: found other bytes after a round trip by onnx, expected the same; "
                "train again with this version of onnx"
            )
        model = OnnxModel(content)
        # One tensor (rows, 1) for each input of the graph; from a DataFrame MLflow would make flat ones.
        feed = dict(feed_columns(model.spec.features, _list_cells(example)))
        with self._explained(f"model {name}"), self._resumed(run_id):
            logged = mlflow.onnx.log_model(
                proto,
                name="model",
                signature=_sign(model, feed, example),
                input_example=feed,
                onnx_execution_providers=["CPUExecutionProvider"],
                pip_requirements=pin_requirements(SERVING_REQUIREMENTS),
                save_as_external_data=False,
            )
            self._create_registered_model(name)
            created = self._client.create_model_version(
                name,
                logged.model_uri,
                run_id,
                tags={**tags, **list_libraries(), SHA256: hashlib.sha256(content).hexdigest()},
                model_id=logged.model_id,
            )
        return str(created.version)

    def tag_version(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        """Writes tags on a version."""
        with self._explained(f"version {version} of {name}"):
            for key, value in tags.items():
                self._client.set_model_version_tag(name, version, key, value)

    def _create_registered_model(self, name: str) -> None:
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


def _read_version(entry: ModelVersion) -> VersionRecord:
    created = entry.creation_timestamp
    moment = None if created is None else datetime.fromtimestamp(created / 1000, UTC)
    return VersionRecord(entry.name, str(entry.version), entry.run_id or "", dict(entry.tags), moment)


def _list_cells(example: pd.DataFrame) -> dict[str, list[Any]]:
    return {str(name): example[name].tolist() for name in example.columns}


def _sign(model: OnnxModel, feed: dict[str, Any], example: pd.DataFrame) -> ModelSignature:
    predicted = model.predict_columns(_list_cells(example))
    spec = model.spec
    ids: dict[Any, Any] = {label: number for number, label in enumerate(spec.classes or [])}
    values = [ids.get(value, value) for value in predicted.values]
    kind = np.float32 if spec.classes is None else np.int64
    outputs: dict[str, Any] = {spec.prediction_output: np.asarray(values, dtype=kind)}
    if spec.probabilities_output is not None:
        outputs[spec.probabilities_output] = predicted.probabilities
    return infer_signature(feed, outputs)
