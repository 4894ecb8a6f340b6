"""Runs in MLflow, and their candidates: the exported model files."""

from __future__ import annotations

import hashlib
import tempfile
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import pandas as pd
from mlflow.entities import Dataset as DatasetRecord
from mlflow.entities import DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature

from ml_code.errors import TrackingError
from ml_code.tracking.connection import SHA256, Connection, check_digest, quote, read_pages
from ml_code.tracking.provenance import pin_requirements

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from sklearn.pipeline import Pipeline

CANDIDATE = "candidate/model.onnx"
BASELINE = "baseline/linear.onnx"
BASELINE_SHA256 = "baseline.sha256"
"""Tag of a run: the digest of its linear baseline's file."""
REFERENCE = "reference.parquet"
REFERENCE_SHA256 = "reference.sha256"
"""Tag of a run: the digest of the rows to which its model's live rows are compared."""
RUN_KEY = "mlops.run_key"
MODEL = "model"
"""Tag of a run: its registered model."""
PAGE_SIZE = 1000
"""Runs per call."""

PIPELINE_REQUIREMENTS = ("scikit-learn", "xgboost", "lightgbm", "numpy", "pandas", "skops")


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The record of a run."""

    run_id: str
    status: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


class RunTracker(Connection):
    """The runs of the experiments."""

    def find_or_create_run(self, experiment: str, key: str | None, name: str, tags: Mapping[str, str]) -> RunRecord:
        """Finds the run of this key, so that a retried task continues its run; without a key creates a new one."""
        with self._explained(f"run {name} in the experiment {experiment}"):
            experiment_id = self._find_or_create_experiment(experiment)
            if key is not None:
                found = self._client.search_runs([experiment_id], f"tags.`{RUN_KEY}` = '{quote(key)}'", max_results=1)
                if found:
                    return _read_run(found[0])
            key_tag = {RUN_KEY: key} if key else {}
            return _read_run(self._client.create_run(experiment_id, tags={**tags, **key_tag}, run_name=name))

    def adopt_run(self, run_id: str, tags: Mapping[str, str]) -> RunRecord:
        """Tags and returns a run that `mlflow run` created."""
        with self._explained(f"run {run_id}"):
            self._client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
        return self.read_run(run_id)

    def read_run(self, run_id: str) -> RunRecord:
        """Reads a run by its id."""
        with self._explained(f"run {run_id}"):
            return _read_run(self._client.get_run(run_id))

    def log(
        self,
        run_id: str,
        params: Mapping[str, object] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Writes all of it in one call, with one time and step."""
        with self._explained(f"run {run_id}"):
            now_ms = int(time.time() * 1000)
            self._client.log_batch(
                run_id,
                [Metric(name, value, now_ms, 0) for name, value in (metrics or {}).items()],
                [Param(name, str(value)) for name, value in (params or {}).items()],
                [RunTag(name, value) for name, value in (tags or {}).items()],
            )

    def log_dataset(self, run_id: str, name: str, version: str, uri: str) -> None:
        """Records the dataset version of a run."""
        record = DatasetRecord(name=name, digest=version, source_type="s3", source=f'{{"uri": "{uri}"}}')
        with self._explained(f"dataset of run {run_id}"):
            self._client.log_inputs(run_id, [DatasetInput(record, [InputTag("mlflow.data.context", "training")])])

    def log_figures(self, run_id: str, figures: Mapping[str, Figure]) -> None:
        """Stores plots below `plots/`."""
        with self._explained(f"plots of run {run_id}"):
            for name, figure in figures.items():
                self._client.log_figure(run_id, figure, f"plots/{name}.png")

    def log_text(self, run_id: str, name: str, text: str) -> None:
        """Stores a text under its name."""
        with self._explained(f"{name} of run {run_id}"):
            self._client.log_text(run_id, text, name)

    def log_pipeline(self, run_id: str, pipeline: Pipeline, inputs: pd.DataFrame) -> None:
        """Stores the fitted pipeline for notebooks, as skops and not as pickle."""
        # The import looks up every ufunc in every loaded module, which triggers Airflow's deprecation warnings.
        with warnings.catch_warnings(action="ignore"):
            import skops.io  # noqa: PLC0415
        with self._explained(f"pipeline of run {run_id}"), self._resumed(run_id):
            mlflow.sklearn.log_model(
                pipeline,
                name="pipeline",
                signature=infer_signature(inputs, pipeline.predict(inputs)),
                pip_requirements=pin_requirements(PIPELINE_REQUIREMENTS),
                serialization_format="skops",
                # This process has just made these bytes, so all types in them are trusted.
                skops_trusted_types=skops.io.get_untrusted_types(data=skops.io.dumps(pipeline)),
            )

    def log_candidate(self, run_id: str, content: bytes) -> str:
        """Stores the exported file on the run, then tags the run with the file's sha256, and returns it."""
        with self._explained(f"candidate of run {run_id}"):
            return self._log_file(run_id, CANDIDATE, SHA256, content)

    def log_baseline(self, run_id: str, content: bytes) -> str:
        """Stores the linear model beside which the gate measures the candidate, and returns its sha256."""
        with self._explained(f"baseline of run {run_id}"):
            return self._log_file(run_id, BASELINE, BASELINE_SHA256, content)

    def log_reference(self, run_id: str, content: bytes) -> str:
        """Stores the rows to which the model's live rows are compared, instead of older ones; returns their sha256."""
        with self._explained(f"reference of run {run_id}"):
            return self._log_file(run_id, REFERENCE, REFERENCE_SHA256, content)

    def log_page(self, run_id: str, path: str, content: bytes) -> None:
        """Stores a page of HTML, or any other file, under its path."""
        with self._explained(f"{path} of run {run_id}"), tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / Path(path).name
            file.write_bytes(content)
            self._client.log_artifact(run_id, str(file), _name_folder(path))

    def read_candidate(self, run: RunRecord) -> bytes:
        """Reads the exported file of a run.

        Raises:
            TrackingError: the run has none.
            DigestError: the file's sha256 is not the stored one.
        """
        return self._read_file(run, CANDIDATE, SHA256, f"candidate of run {run.run_id}")

    def read_baseline(self, run: RunRecord) -> bytes | None:
        """Reads the linear model of a run; None if its training stored none.

        Raises:
            TrackingError: MLflow refuses.
            DigestError: the file's sha256 is not the stored one.
        """
        if BASELINE_SHA256 not in run.tags:
            return None
        return self._read_file(run, BASELINE, BASELINE_SHA256, f"baseline of run {run.run_id}")

    def read_reference(self, run: RunRecord) -> bytes | None:
        """Reads the rows to which the model's live rows are compared; None if the run stored none.

        Raises:
            TrackingError: MLflow refuses.
            DigestError: the file's sha256 is not the stored one.
        """
        if REFERENCE_SHA256 not in run.tags:
            return None
        return self._read_file(run, REFERENCE, REFERENCE_SHA256, f"reference of run {run.run_id}")

    def list_similar_runs(self, run_id: str, tags: Mapping[str, str]) -> list[RunRecord]:
        """Lists every run of a run's experiment that has these tags, the newest first."""
        wanted = " and ".join(f"tags.`{name}` = '{quote(value)}'" for name, value in tags.items())
        with self._explained(f"runs like {run_id}"):
            experiment_id = self._client.get_run(run_id).info.experiment_id
            search = partial(self._client.search_runs, [experiment_id], wanted, max_results=PAGE_SIZE)
            return [_read_run(run) for run in read_pages(lambda token: search(page_token=token))]

    def list_running(self, experiment: str, model: str, began_after: datetime) -> list[str]:
        """Lists the ids of trainings of a model that are under way; an interrupted one counts until it is this old."""
        since_ms = int(began_after.timestamp() * 1000)
        running = f"attributes.status = 'RUNNING' and attributes.start_time > {since_ms}"
        wanted = f"{running} and tags.`{MODEL}` = '{quote(model)}'"
        with self._explained(f"running trainings of {model}"):
            found = self._client.get_experiment_by_name(experiment)
            if found is None:
                return []
            search = partial(self._client.search_runs, [found.experiment_id], wanted, max_results=PAGE_SIZE)
            return [run.info.run_id for run in read_pages(lambda token: search(page_token=token))]

    def end_run(self, run_id: str, *, is_failed: bool = False) -> None:
        """Marks a run as ended."""
        with self._explained(f"run {run_id}"):
            self._client.set_terminated(run_id, "FAILED" if is_failed else "FINISHED")

    def _log_file(self, run_id: str, name: str, tag: str, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        self.log_page(run_id, name, content)
        self._client.set_tag(run_id, tag, digest)
        return digest

    def _read_file(self, run: RunRecord, name: str, tag: str, subject: str) -> bytes:
        with self._explained(subject), tempfile.TemporaryDirectory() as folder:
            content = Path(self._client.download_artifacts(run.run_id, name, folder)).read_bytes()
        return check_digest(content, run.tags.get(tag), subject)

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


def _name_folder(path: str) -> str | None:
    """The folder of a run's file; MLflow knows the run's own folder as None."""
    folder = str(Path(path).parent)
    return None if folder == "." else folder


def _read_run(run: Run) -> RunRecord:
    return RunRecord(run.info.run_id, run.info.status, run.data.params, run.data.metrics, run.data.tags)
