"""Trains a model: from a snapshot to an MLflow run with an exported file. A repeated step does no harm."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from ml_code.data import features
from ml_code.data.holdout import Split
from ml_code.data.snapshots import name_version
from ml_code.datasets import Dataset
from ml_code.families import Family, HyperparameterValue, check_hyperparameters, find_family
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.settings import read_project_run_id
from ml_code.telemetry import span
from ml_code.traces import list_tags
from ml_code.tracking import MODEL, SHA256, RunRecord, Tracker
from ml_code.tracking.provenance import find_git_commit
from ml_code.training.plans import Mix, RunOrigin
from ml_code.training.rows import TrainingRows, find_way, open_rows
from ml_code.workspace import Workspace

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

# Airflow runs each step in its own process, so a step imports the libraries that only it needs. The gate does without
# scikit-learn, the converters and matplotlib, which saves half of its time.

log = logging.getLogger(__name__)


@span("train")
def train(
    workspace: Workspace,
    dataset: str,
    snapshot_uri: str,
    model_type: str,
    estimator: str | None = None,
    *,
    hyperparameters: Mapping[str, Any] | None = None,
    model: str | None = None,
    experiment: str | None = None,
    origin: RunOrigin | None = None,
    mix: Mix | None = None,
    fit: str | None = None,
) -> str:
    """Fits one model, exports it, logs both, and returns the MLflow run's id.

    A retry of the same origin continues its run. Inside `mlflow run` the run of that command is used.

    Args:
        workspace: with MLflow, the store and the catalog.
        dataset: of the catalog.
        snapshot_uri: its rows, from `prepare`.
        model_type: library.
        estimator: for sklearn only.
        hyperparameters: override those of the catalog.
        model: registered model of the version; None: the one with the dataset's name.
        experiment: of MLflow; None: the one with the dataset's name.
        origin: the running Airflow task.
        mix: which rows count, and how much; None: all alike.
        fit: one of `ways.WAYS`; None: `auto`.

    Raises:
        TrainingError: a model type, estimator or hyperparameter is not offered.
        ExportError: exported file and fitted pipeline disagree.
        TrackingError: MLflow refuses or cannot be reached.
    """
    described = workspace.load_dataset(dataset)
    family = find_family(model_type, estimator, described.task)
    of_dataset = described.hyperparameters.get(family.name, {})
    checked = check_hyperparameters(family, {**of_dataset, **(hyperparameters or {})})
    way = find_way(workspace, described, family, snapshot_uri, asked=fit, is_mixed=mix is not None)
    with open_rows(workspace, described, snapshot_uri, way, mix) as rows:
        tags = {
            "dataset": dataset,
            MODEL: model or dataset,
            "model_type": family.model_type,
            "estimator": family.name,
            "dataset_version": name_version(snapshot_uri),
            "snapshot_uri": snapshot_uri,
            "holdout_id": rows.expected.holdout_id,
            "git_commit": find_git_commit(workspace.settings),
            **rows.tags,
            **(origin.tags if origin else {}),
            **list_tags(),
        }
        opened = _open_run(workspace.tracker, experiment or dataset, origin, tags)
        return _train(workspace, opened, rows, family, checked)


def _train(
    workspace: Workspace,
    run: RunRecord,
    rows: TrainingRows,
    family: Family,
    hyperparameters: Mapping[str, HyperparameterValue],
) -> str:
    """Fits and logs within a run, unless the run has its model already."""
    from ml_code.training import fitting  # noqa: PLC0415

    tracker, dataset = workspace.tracker, rows.dataset
    if SHA256 in run.tags:
        tracker.end_run(run.run_id)  # the previous try may have been interrupted before this line
        return run.run_id
    params = _describe_params(dataset, family, hyperparameters, fitting.SEED) | dict(rows.params)
    is_trained = False
    try:
        # `mlflow run` has logged its own parameters, which cannot change.
        new = {name: value for name, value in params.items() if name not in run.params}
        tracker.log(run.run_id, params=new, tags=rows.tags)
        tracker.log_dataset(run.run_id, dataset.name, run.tags["dataset_version"], run.tags["snapshot_uri"])
        with span("fit"):
            pipeline = rows.fit(family, hyperparameters, workspace.settings.training_threads)
        if family.name != "linear":
            _log_baseline(tracker, run.run_id, dataset, rows.train)
        _log_model(tracker, run.run_id, dataset, pipeline, rows.train, expected=rows.expected)
        is_trained = True
    finally:
        tracker.end_run(run.run_id, is_failed=not is_trained)
    return run.run_id


def _open_run(tracker: Tracker, experiment: str, origin: RunOrigin | None, tags: Mapping[str, str]) -> RunRecord:
    project_run_id = None if origin else read_project_run_id()
    if project_run_id:
        return tracker.adopt_run(project_run_id, tags)
    # The key has the version of the rows: a cleared task whose rows have changed trains on the new rows.
    key = f"{origin.key}/{tags['dataset_version']}" if origin else None
    return tracker.find_or_create_run(experiment, key, f"{tags[MODEL]}-{tags['estimator']}", tags)


def _log_baseline(tracker: Tracker, run_id: str, dataset: Dataset, train: pd.DataFrame) -> None:
    from ml_code.training import baseline  # noqa: PLC0415

    content = baseline.export_linear_baseline(dataset, train)
    if content is not None:
        tracker.log_baseline(run_id, content)


def _log_model(
    tracker: Tracker, run_id: str, dataset: Dataset, pipeline: Pipeline, train: pd.DataFrame, *, expected: Split
) -> None:
    """Exports and stores a fitted pipeline; the candidate comes last, because a retry looks for it.

    `expected` are the rows that live ones will be like.
    """
    from ml_code.training import export, fitting, labels, plots, reference  # noqa: PLC0415

    with span("export"):
        exported = export.export_pipeline(dataset, pipeline, features.list_classes(dataset, train), train)
    metrics = {
        "export_agreement": exported.agreement_share,
        "export_largest_error": exported.largest_difference,
        "model_file_mb": len(exported.content) / 1e6,
    }
    tracker.log(run_id, metrics=metrics)
    shares = fitting.rank_features(dataset, pipeline)
    names = labels.show_labels(shares)
    tracker.log_figures(run_id, {"feature_importance": plots.draw_importances([*shares.values()], names.shown)})
    if names.key:
        tracker.log_text(run_id, "plots/feature_names.txt", names.key)
    tracker.log_pipeline(run_id, pipeline, features.select_inputs(dataset, train))
    tracker.log_reference(run_id, reference.make_reference(dataset, expected, OnnxModel(exported.content)).render())
    tracker.log_candidate(run_id, exported.content)


def _describe_params(
    dataset: Dataset, family: Family, hyperparameters: Mapping[str, HyperparameterValue], seed: int
) -> dict[str, object]:
    return {
        "dataset": dataset.name,
        "model_type": family.model_type,
        "estimator": family.name,
        "hyperparameters": json.dumps(hyperparameters, sort_keys=True),
        **{f"hyperparameter.{name}": value for name, value in hyperparameters.items()},
        "seed": seed,
        "holdout_seed": dataset.holdout.seed,
        "holdout_share": dataset.holdout.share,
    }
