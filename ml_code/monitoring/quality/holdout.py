"""What a version's holdout says: its score at the gate, the edges of its slices, and what its confidence is worth."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.isotonic import IsotonicRegression

from ml_code.cells import name_category
from ml_code.data.features import name_categories
from ml_code.data.snapshots import read_holdout
from ml_code.datasets import Dataset
from ml_code.errors import DataCheckError, DigestError, ModelFileError, StorageError, TrackingError
from ml_code.gate.evaluation import predict_rows
from ml_code.gate.slices import Cut, list_cuts, list_outer_cuts
from ml_code.model_file.onnx_model import OnnxModel, Prediction
from ml_code.monitoring.quality.intervals import Estimate
from ml_code.training.reference import find_confidence
from ml_code.workspace import Workspace

LEAST_ROWS = 50
"""Of a holdout whose confidence is calibrated: fewer rows would calibrate noise."""

type Calibration = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
"""Maps the probability of an answered class to the share of right answers on the holdout."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reference:
    """A version beside whose holdout its live answers stand.

    `score` is None without the figures of its run, `cuts` is empty and `calibration` None without its rows.
    """

    score: Estimate | None = None
    cuts: Sequence[Cut] = ()
    calibration: Calibration | None = None
    rarer: str | None = None


def read_reference(workspace: Workspace, dataset: Dataset, model: str, version: str) -> Reference:
    """Reads what is known of a version's holdout; what cannot be read is left out, with a line in the log."""
    try:
        run = workspace.tracker.read_run(workspace.tracker.read_version(model, version).run_id)
    except TrackingError as error:
        log.warning("%s version %s: found no run (%s), so no figure of its holdout is shown", model, version, error)
        return Reference()
    score = read_score(run.metrics, dataset.gate.metric)
    try:
        described, holdout = read_holdout(workspace, run.tags)
        predicted = predict_rows(described, OnnxModel(workspace.tracker.read_model_file(model, version)), holdout)
    except (KeyError, ValueError, StorageError, DataCheckError, ModelFileError, TrackingError, DigestError) as error:
        log.warning("%s version %s: found no holdout rows (%r), so no slice is measured", model, version, error)
        return Reference(score)
    cuts = [*list_cuts(described, holdout), *list_outer_cuts(described, holdout)]
    truth = holdout[described.target]
    return Reference(score, cuts, calibrate(truth, predicted), find_rarer(described, truth))


def read_score(metrics: Mapping[str, float], metric: str) -> Estimate | None:
    """The holdout's score of a run with the interval that its evaluation logged; None if the run has no score."""
    score = metrics.get(metric, metrics.get("gate_score"))
    if score is None:
        return None
    return Estimate(score, metrics.get(f"{metric}_low", score), metrics.get(f"{metric}_high", score))


def calibrate(truth: pd.Series, predicted: Prediction) -> Calibration | None:
    """Fits how often an answer is right at each confidence; None for values, and for too few rows.

    Isotonic regression: a higher confidence is never less often right (B. Zadrozny, C. Elkan, "Transforming classifier
    scores into accurate multiclass probability estimates", 2002, doi:10.1145/775047.775151).
    """
    confidence = find_confidence(predicted)
    if confidence is None or len(truth) < LEAST_ROWS:
        return None
    labels = [name_category(label) for label in truth.tolist()]
    found = [name_category(label) for label in predicted.values]
    is_right = np.array([label == other for label, other in zip(labels, found, strict=True)], dtype=np.float64)
    fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(confidence, is_right)
    return lambda scores: np.asarray(fitted.predict(scores), dtype=np.float64)


def find_rarer(dataset: Dataset, truth: pd.Series) -> str | None:
    """The rarer of two classes, of equal ones the second; None unless there are two."""
    if dataset.task == "regression":
        return None
    counts = name_categories(truth).value_counts()
    if len(counts) != 2:
        return None
    first, second = sorted(counts.index.tolist())
    return str(first if counts[first] < counts[second] else second)
