"""MLflow: runs, candidates, and the registry of versions; the only module that imports it."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import onnx
import pandas as pd
from mlflow.entities import Dataset as DatasetRecord
from mlflow.entities import DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature, infer_signature
from requests import RequestException

from ml_code.errors import DigestError, TrackingError
from ml_code.onnx_model import OnnxModel
from ml_code.provenance import list_libraries, pin_requirements
from ml_code.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from sklearn.pipeline import Pipeline

CANDIDATE = "candidate/model.onnx"
RUN_KEY = "mlops.run_key"
SHA256 = "sha256"
MODEL = "model"
"""Tag of a run: the registered model that it is meant for."""
SERVING_REQUIREMENTS = ("onnx", "onnxruntime", "numpy", "pandas")
PIPELINE_REQUIREMENTS = ("scikit-learn", "xgboost", "lightgbm", "numpy", "pandas", "skops")

CLIENT_ENVIRONMENT = {
    # The server offers addresses in the object store, which only it can reach: everything goes through it.
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
    # A lock file names the package index of the machine that made it.
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a run says about itself."""

    run_id: str
    status: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """One version of a registered model."""

    name: str
    version: str
    run_id: str
    tags: Mapping[str, str]


class Tracker:
    """The tracking server of the settings.

    >>> Tracker(settings).read_aliases("iris")
    {'champion': '3'}
    """

    def __init__(self, settings: Settings) -> None:
        """Tells MLflow where the server is and who we are; it takes credentials from the environment alone."""
        os.environ.update(CLIENT_ENVIRONMENT)
        os.environ["MLFLOW_TRACKING_USERNAME"] = settings.mlflow_username
        os.environ["MLFLOW_TRACKING_PASSWORD"] = settings.mlflow_password.get_secret_value()
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        mlflow.set_tracking_uri(settings.mlflow_url)
        mlflow.set_registry_uri(settings.mlflow_url)
        self._settings = settings
        self._client = mlflow.MlflowClient(settings.mlflow_url, settings.mlflow_url)

    def find_or_create_run(self, experiment: str, key: str | None, name: str, tags: Mapping[str, str]) -> RunRecord:
        """The run of this key, so that a retried task goes on with its own; without a key always a new one."""
        with self._explained(f"run {name} in the experiment {experiment}"):
            experiment_id = self._find_or_create_experiment(experiment)
            if key is not None:
                found = self._client.search_runs([experiment_id], f"tags.`{RUN_KEY}` = '{_quote(key)}'", max_results=1)
                if found:
                    return _read_run(found[0])
            key_tag = {RUN_KEY: key} if key else {}
            return _read_run(self._client.create_run(experiment_id, tags={**tags, **key_tag}, run_name=name))

    def adopt_run(self, run_id: str, tags: Mapping[str, str]) -> RunRecord:
        """A run that `mlflow run` has made for us."""
        with self._explained(f"run {run_id}"):
            self._client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
        return self.read_run(run_id)

    def read_run(self, run_id: str) -> RunRecord:
        """A run by its id."""
        with self._explained(f"run {run_id}"):
            return _read_run(self._client.get_run(run_id))

    def log(
        self,
        run_id: str,
        params: Mapping[str, object] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Writes everything in one call, at one time and step."""
        with self._explained(f"run {run_id}"):
            now_ms = int(time.time() * 1000)
            self._client.log_batch(
                run_id,
                [Metric(name, value, now_ms, 0) for name, value in (metrics or {}).items()],
                [Param(name, str(value)) for name, value in (params or {}).items()],
                [RunTag(name, value) for name, value in (tags or {}).items()],
            )

    def log_dataset(self, run_id: str, name: str, version: str, uri: str) -> None:
        """Names the rows that a run trains on."""
        record = DatasetRecord(name=name, digest=version, source_type="s3", source=f'{{"uri": "{uri}"}}')
        with self._explained(f"dataset of run {run_id}"):
            self._client.log_inputs(run_id, [DatasetInput(record, [InputTag("mlflow.data.context", "training")])])

    def log_figures(self, run_id: str, figures: Mapping[str, Figure]) -> None:
        """Stores pictures below `plots/`."""
        with self._explained(f"plots of run {run_id}"):
            for name, figure in figures.items():
                self._client.log_figure(run_id, figure, f"plots/{name}.png")

    def log_text(self, run_id: str, name: str, text: str) -> None:
        """Stores a text under its name."""
        with self._explained(f"{name} of run {run_id}"):
            self._client.log_text(run_id, text, name)

    def log_pipeline(self, run_id: str, pipeline: Pipeline, inputs: pd.DataFrame) -> None:
        """Stores the fitted pipeline for notebooks, as skops and not as pickle."""
        # The import looks every ufunc up in every loaded module, which wakes each deprecation warning of Airflow.
        with warnings.catch_warnings(action="ignore"):
            import skops.io  # noqa: PLC0415
        with self._explained(f"pipeline of run {run_id}"), self._resumed(run_id):
            mlflow.sklearn.log_model(
                pipeline,
                name="pipeline",
                signature=infer_signature(inputs, pipeline.predict(inputs)),
                pip_requirements=pin_requirements(PIPELINE_REQUIREMENTS),
                serialization_format="skops",
                # Own bytes, made a moment ago: whatever types are in there are meant.
                skops_trusted_types=skops.io.get_untrusted_types(data=skops.io.dumps(pipeline)),
            )

    def log_candidate(self, run_id: str, content: bytes) -> str:
        """Stores the exported file on the run and answers its sha256, which becomes a tag last."""
        digest = hashlib.sha256(content).hexdigest()
        with self._explained(f"candidate of run {run_id}"), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(CANDIDATE).name
            path.write_bytes(content)
            self._client.log_artifact(run_id, str(path), str(Path(CANDIDATE).parent))
            self._client.set_tag(run_id, SHA256, digest)
        return digest

    def read_candidate(self, run: RunRecord) -> bytes:
        """The exported file of a run.

        Raises:
            TrackingError: the run has none.
            DigestError: the file is not the one that was stored.
        """
        with self._explained(f"candidate of run {run.run_id}"), tempfile.TemporaryDirectory() as folder:
            path = self._client.download_artifacts(run.run_id, CANDIDATE, folder)
            content = Path(path).read_bytes()
        return _check_digest(content, run.tags.get(SHA256), f"candidate of run {run.run_id}")

    def end_run(self, run_id: str, *, is_failed: bool = False) -> None:
        """Marks a run as ended."""
        with self._explained(f"run {run_id}"):
            self._client.set_terminated(run_id, "FAILED" if is_failed else "FINISHED")

    def read_aliases(self, name: str) -> dict[str, str]:
        """Versions by alias; none where there is no such model."""
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
        """One version."""
        with self._explained(f"version {version} of {name}"):
            return _read_version(self._client.get_model_version(name, version))

    def list_versions(self, name: str, run_id: str | None = None) -> list[VersionRecord]:
        """The versions of a model, or those of one run only, the newest first."""
        of_run = f" and run_id = '{run_id}'" if run_id else ""
        with self._explained(f"versions of {name}"):
            found = self._client.search_model_versions(f"name = '{_quote(name)}'{of_run}", max_results=1000)
        records = [_read_version(entry) for entry in found]
        return sorted(records, key=lambda record: int(record.version), reverse=True)

    def find_newest_passed(self, name: str) -> VersionRecord | None:
        """The newest version that the gate let through, if any."""
        return next((record for record in self.list_versions(name) if record.tags.get("gate") == "passed"), None)

    def read_model_file(self, name: str, version: str) -> bytes:
        """The model file of a version.

        Raises:
            TrackingError: the version has no `model.onnx`.
            DigestError: the file's sha256 is not the one that the version says, or it says none.
        """
        subject = f"model file of {name} version {version}"
        record = self.read_version(name, version)
        with self._explained(subject), tempfile.TemporaryDirectory() as folder:
            uri = f"models:/{name}/{version}"
            path = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder)) / "model.onnx"
            if not path.is_file():
                raise TrackingError(f"{subject}: found no model.onnx, expected one; register an ONNX model")
            content = path.read_bytes()
        return _check_digest(content, record.tags.get(SHA256), subject)

    def register(self, name: str, run_id: str, content: bytes, example: pd.DataFrame, tags: Mapping[str, str]) -> str:
        """Makes a version of the exact bytes, or answers the one that this run has made before; moves no alias."""
        existing = self.list_versions(name, run_id)
        if existing:
            return existing[0].version
        proto = onnx.load_from_string(content)
        if proto.SerializeToString() != content:
            raise TrackingError(
                f"model file of run {run_id}: found other bytes after a round trip through onnx, expected the same; "
                "train again with this version of onnx"
            )
        with self._explained(f"model {name}"), self._resumed(run_id):
            logged = mlflow.onnx.log_model(
                proto,
                name="model",
                signature=_sign(content, example),
                input_example=_make_feed(example),
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

    def _find_or_create_experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            found = self._client.get_experiment_by_name(name)
        if found is None or found.lifecycle_stage != "active":
            raise TrackingError(
                f"experiment {name}: found a deleted one, expected an active one; restore or purge it in MLflow"
            )
        return str(found.experiment_id)

    def _create_registered_model(self, name: str) -> None:
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    @contextmanager
    def _resumed(self, run_id: str) -> Iterator[None]:
        """`log_model` writes to the active run only; the run ends as finished."""
        with mlflow.start_run(run_id=run_id), warnings.catch_warnings():
            # MLflow warns of type hints of its own when it imports its model classes.
            warnings.filterwarnings("ignore", message=".*Any type hint is inferred", category=UserWarning)
            yield

    @contextmanager
    def _explained(self, subject: str) -> Iterator[None]:
        try:
            yield
        except (MlflowException, RequestException) as error:  # MLflow wraps no refused artifact
            raise TrackingError(
                f"{subject}: found {error}, expected MLflow at {self._settings.mlflow_url} to do it for the user "
                f"{self._settings.mlflow_username}; check that it runs, and that user's password and permissions"
            ) from error


def _read_run(run: Run) -> RunRecord:
    return RunRecord(run.info.run_id, run.info.status, run.data.params, run.data.metrics, run.data.tags)


def _read_version(entry: ModelVersion) -> VersionRecord:
    return VersionRecord(entry.name, str(entry.version), entry.run_id or "", dict(entry.tags))


def _check_digest(content: bytes, expected: str | None, subject: str) -> bytes:
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise DigestError(
            f"{subject}: found the sha256 {found}, expected {expected or 'one among its tags'}; "
            "the file was altered or never finished: train again"
        )
    return content


def _make_feed(example: pd.DataFrame) -> dict[str, Any]:
    """One tensor (rows, 1) for each column, as the file takes them; from a DataFrame MLflow makes flat ones."""
    return {str(name): example[name].to_numpy().reshape(-1, 1) for name in example.columns}


def _sign(content: bytes, example: pd.DataFrame) -> ModelSignature:
    model = OnnxModel(content)
    answers = model.predict_columns({str(name): example[name].tolist() for name in example.columns})
    spec = model.spec
    ids: dict[Any, Any] = {label: number for number, label in enumerate(spec.classes or [])}
    values = [ids.get(value, value) for value in answers.values]
    kind = np.float32 if spec.classes is None else np.int64
    outputs: dict[str, Any] = {spec.prediction_output: np.asarray(values, dtype=kind)}
    if spec.probabilities_output is not None:
        outputs[spec.probabilities_output] = answers.probabilities
    return infer_signature(_make_feed(example), outputs)


def _quote(text: str) -> str:
    """MLflow's filter language knows no escape for a quote."""
    return text.replace("'", "").replace("\\", "")
