"""The model of a run on the rows of its snapshot, how many met its holdout, and whether a file fits the catalog."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from ml_code.data.holdout import Split
from ml_code.data.snapshot_blocks import read_shape
from ml_code.data.snapshots import read_sides
from ml_code.datasets import Dataset
from ml_code.errors import GateError
from ml_code.gate.evaluation import Clusters, find_clusters, predict_rows
from ml_code.gate.evidence import show_names
from ml_code.model_file.onnx_model import OnnxModel, Prediction
from ml_code.model_file.spec import Label, ModelSpec
from ml_code.tracking import MODEL, SHA256, RunRecord, Tracker
from ml_code.ways import FIT, ON_CLUSTER, WORKERS
from ml_code.workspace import Workspace

UNKNOWN_HOLDOUT = "unknown"
"""Holdout id of a model that was trained elsewhere: its training rows are unknown, so it does not compare."""

NEEDED_TAGS = ("dataset", MODEL, "dataset_version", "snapshot_uri", "holdout_id")

JUDGED = "gate"
"""Tag of a run that the gate judged, or that lost to another run on the same holdout."""


@dataclass(frozen=True)
class Challenger:
    """A run, its dataset, the rows of its snapshot on either side, its file, and the file's holdout predictions.

    The holdout has no row of `unseen_classes`.
    """

    run: RunRecord
    dataset: Dataset
    train: pd.DataFrame
    holdout: pd.DataFrame
    model: OnnxModel
    predicted: Prediction
    unseen_classes: Sequence[Label] = ()

    @property
    def truth(self) -> pd.Series:
        """True values of the holdout."""
        return self.holdout[self.dataset.target]

    @cached_property
    def clusters(self) -> Clusters | None:
        """Numbers of the holdout's groups; None if the dataset has none."""
        return find_clusters(self.dataset, self.holdout)


def open_challenger(workspace: Workspace, run: RunRecord) -> Challenger:
    """Opens the exported file of a run and predicts the holdout.

    Raises:
        GateError: no training made the run, or the catalog was corrected since.
        ModelFileError: the file cannot be opened, or fails on the rows.
        TrackingError: MLflow refuses, or the file is missing.
        DigestError: the sha256 of the run's file is not the stored one.
    """
    dataset, split = read_split(workspace, run)
    model = OnnxModel(workspace.tracker.read_candidate(run))
    if misfit := find_misfit(dataset, model.spec, split.holdout):
        raise GateError(_describe_stale(run, f"a model that does not fit: {misfit}"))
    if other := {feature.name for feature in model.spec.features} ^ set(dataset.features):
        raise GateError(_describe_stale(run, f"other features ({show_names(sorted(other))})"))
    predicted = predict_rows(dataset, model, split.holdout)
    return Challenger(run, dataset, split.train, split.holdout, model, predicted, split.unheld_classes)


def read_split(workspace: Workspace, run: RunRecord) -> tuple[Dataset, Split]:
    """Reads the dataset and the rows of a run, by its tags; samples of the rows if they were too many for memory.

    Raises:
        GateError: no training made the run, or the catalog was corrected since.
        StorageError: the snapshot is gone, or the store refuses.
    """
    if missing := [name for name in NEEDED_TAGS if name not in run.tags]:
        raise GateError(
            f"run {run.run_id}: found no tag {', '.join(missing)}, expected those of a training; "
            "train by `mlops train`, or register a file by `mlops register`"
        )
    dataset = workspace.load_dataset(run.tags["dataset"])
    found = read_shape(workspace.storage, run.tags["snapshot_uri"]).columns
    if lacking := [name for name in dataset.columns if name not in found]:
        raise GateError(_describe_stale(run, f"rows without {show_names(lacking)}"))
    split = read_sides(workspace, dataset, run.tags)
    if run.tags["holdout_id"] not in {split.holdout_id, UNKNOWN_HOLDOUT}:
        raise GateError(_describe_stale(run, "another rule for the holdout, so it may have trained on these rows"))
    return dataset, split


def find_misfit(dataset: Dataset, spec: ModelSpec, frame: pd.DataFrame) -> str | None:
    """Why a model file does not fit the present catalog, such as after a correction; None if it fits."""
    if spec.task != dataset.task:
        answers = "classes" if spec.task == "classification" else "numbers"
        return f"it answers {answers}, and the task is {dataset.task} now"
    if spec.target != dataset.target:
        return f"it predicts {spec.target}, and the target is {dataset.target} now"
    lacking = sorted({feature.name for feature in spec.features} - set(frame.columns))
    if lacking:
        return f"it reads {show_names(lacking)}, which the rows no longer have"
    kinds = {**dict.fromkeys(dataset.numeric, "numeric"), **dict.fromkeys(dataset.categorical, "categorical")}
    for feature in spec.features:
        if kinds.get(feature.name, feature.kind) != feature.kind:
            return f"it reads {feature.name} as {feature.kind}, which is {kinds[feature.name]} now"
    return None


def _describe_stale(run: RunRecord, found: str) -> str:
    return f"run {run.run_id}: found {found}; expected those of the present catalog, which was corrected; train again"


def count_tries(tracker: Tracker, run: RunRecord) -> int:
    """Number of different models of the run's line that met its holdout on its snapshot, this one among them.

    The same recipe on the same rows gives the same model, so it counts once.
    """
    same = {name: run.tags[name] for name in (MODEL, "dataset_version", "holdout_id")}
    judged = [other for other in tracker.list_similar_runs(run.run_id, same) if JUDGED in other.tags]
    return len({_name_recipe(other) for other in [*judged, run]})


def _name_recipe(run: RunRecord) -> tuple[str | None, ...]:
    """What decides a model's file, given its rows; a model from elsewhere is its file.

    Another number of workers of a cluster gives another model. Rows in memory and rows on a disk give the same one.
    """
    workers = run.tags.get(WORKERS) if run.tags.get(FIT) == ON_CLUSTER else None
    recipe = run.tags.get("estimator"), run.params.get("hyperparameters"), run.params.get("mix"), workers
    return recipe if run.tags.get("model_type") != "onnx" else (*recipe, run.tags.get(SHA256))
