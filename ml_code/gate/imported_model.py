"""Imports an ONNX file that was trained elsewhere: adapts it to a dataset and adds spec and golden rows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import pandas as pd

from ml_code.data import features, holdout
from ml_code.data.holdout import Split
from ml_code.data.snapshots import name_version, prepare, read_snapshot
from ml_code.datasets import Dataset
from ml_code.errors import ModelFileError
from ml_code.gate.challenger import UNKNOWN_HOLDOUT
from ml_code.gate.imports import columns, graph, readings, trials
from ml_code.gate.imports.adapter import wrap
from ml_code.gate.imports.columns import Slot
from ml_code.gate.imports.foreign_file import read_file
from ml_code.gate.imports.readings import Answers, Target
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.model_file.spec import METADATA_KEY, Label
from ml_code.tracking import MODEL
from ml_code.tracking.provenance import find_git_commit
from ml_code.training.export import seal
from ml_code.training.feature_spec import name_inputs
from ml_code.workspace import Workspace

log = logging.getLogger(__name__)

MODEL_TYPE = "onnx"

MOST_ROWS = 10_000
"""Most training rows that a file is tried on."""


def import_model(
    workspace: Workspace, path: Path, dataset: str, *, model: str | None = None, answers: Answers | None = None
) -> str:
    """Creates a run for an ONNX file, like that of a training, and returns the run's id.

    The file reads one input of shape (rows, 1) for each feature, by its name, or one matrix of all numbers and one of
    all texts, in the order of the catalog. Its first output is the prediction: values, labels, positions of classes,
    one number for each class, of which the largest wins, or the probability of the second of two classes.

    Args:
        workspace: with MLflow, the store and the catalog.
        path: path of the file.
        dataset: name in the catalog.
        model: registered model of the version; None: the one with the dataset's name.
        answers: what whole numbers as answers are; None: what fits the rows.

    Raises:
        ModelFileError: the file is not an ONNX model, or does not fit the dataset.
        CatalogError: the dataset is not in the catalog.
        TrackingError: MLflow refuses.
    """
    described = workspace.load_dataset(dataset)
    proto = read_file(path)
    snapshot_uri = prepare(workspace, dataset)
    split = holdout.split_holdout(described, read_snapshot(workspace, snapshot_uri))
    content = adapt(described, proto, split, str(path), answers)
    tracker = workspace.tracker
    tags = {
        "dataset": dataset,
        MODEL: model or dataset,
        "model_type": MODEL_TYPE,
        "estimator": MODEL_TYPE,
        "dataset_version": name_version(snapshot_uri),
        "snapshot_uri": snapshot_uri,
        "holdout_id": UNKNOWN_HOLDOUT,
        "git_commit": find_git_commit(workspace.settings),
    }
    params = {
        "dataset": dataset,
        "model_type": MODEL_TYPE,
        "estimator": MODEL_TYPE,
        "hyperparameters": "{}",
        "seed": "unknown",
        "train_rows": "unknown",
        "holdout_rows": len(split.holdout),
        "file": path.name,
    }
    run = tracker.find_or_create_run(dataset, None, f"{model or dataset}-{MODEL_TYPE}", tags)
    is_logged = False
    try:
        tracker.log(run.run_id, params=params)
        tracker.log_candidate(run.run_id, content)
        is_logged = True
    finally:
        tracker.end_run(run.run_id, is_failed=not is_logged)
    return run.run_id


def adapt(dataset: Dataset, proto: onnx.ModelProto, split: Split, name: str, answers: Answers | None = None) -> bytes:
    """Returns the model file with one input for each feature, one prediction for each row, spec and golden rows.

    The graph runs on training rows before anything that it declares is believed, and the new file must answer as it.

    Raises:
        ModelFileError: it does not fit the dataset, or answers otherwise once it is adapted.
    """
    # A copy, in which no function hides what it computes.
    came = onnx.inliner.inline_local_functions(proto)
    zipped = graph.bypass_zipmaps(came.graph)
    graph.free_rows(came.graph)
    slots = columns.match_inputs(dataset, came, name)
    classes = features.list_classes(dataset, split.train)
    rows = _draw_rows(split.train)
    try:
        trial = trials.open_trial(came, slots)
        found = trials.run_all(trial, rows)
        reading = readings.find_reading(
            Target(dataset, classes, rows[dataset.target].tolist(), answers),
            lambda output: zipped.get(output) or graph.find_declared_labels(came.graph, output),
            trial.select_outputs(found),
        )
        required = trials.find_required(trial, pd.concat([split.train, split.holdout]))
        columns.feed_slots(slots, split.holdout)  # a rollout replays these rows
        trials.refuse_company(trial, reading, rows, found)
        wrapped = wrap(came, name_inputs(dataset), dataset.categorical, slots, reading)
        content = _seal(dataset, wrapped, classes, split.train, required=required, slots=slots)
        model = OnnxModel(content)
        model.replay_golden()
        inputs = features.select_inputs(dataset, rows)
        adapted = model.predict_columns({column: inputs[column].tolist() for column in inputs.columns})
        trials.refuse_difference(dataset, reading, found, adapted, classes)
    except ModelFileError as error:
        raise ModelFileError(f"{name}: {error}") from error
    if classes is not None and reading.probabilities is None:
        log.warning("%s: found no probabilities of the classes, so ?probabilities=true will be refused", name)
    return content


def _draw_rows(train: pd.DataFrame) -> pd.DataFrame:
    """Evenly spread rows, at most `MOST_ROWS`."""
    places = np.unique(np.linspace(0, len(train) - 1, MOST_ROWS).astype(int))
    return train.iloc[places].reset_index(drop=True)


def _seal(
    dataset: Dataset,
    wrapped: onnx.ModelProto,
    classes: list[Label] | None,
    train: pd.DataFrame,
    *,
    required: frozenset[str],
    slots: Sequence[Slot],
) -> bytes:
    """Seals the graph, and marks the columns in which serving refuses a missing cell or a fraction.

    A graph that reads whole numbers would read 2.5 as 2, and 256 as 0 if it reads bytes.
    """
    content = seal(dataset, wrapped, classes, train, name_inputs(dataset))
    spec = OnnxModel(content).spec
    whole = {name: slot.whole for slot in slots for name in slot.columns if name in dataset.numeric}
    described = [
        feature.model_copy(update={"is_required": feature.name in required, "whole": whole.get(feature.name)})
        for feature in spec.features
    ]
    sealed = onnx.load_from_string(content)
    text = spec.model_copy(update={"features": described}).model_dump_json()
    onnx.helper.set_model_props(sealed, {METADATA_KEY: text})
    described_content: bytes = sealed.SerializeToString()
    return described_content
