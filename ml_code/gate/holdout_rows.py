"""The holdout rows of a version, with the predictions of its file."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ml_code.errors import DataCheckError, StorageError
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.model_file.spec import ModelSpec, Value
from ml_code.model_file.tolerance import find_scale
from ml_code.workspace import Workspace

LARGEST_HOLDOUT = 2000
"""Most rows: enough for a distribution, and few enough to send."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HoldoutRows:
    """Holdout or golden rows, with cells in the order of the spec's features, and one prediction for each."""

    spec: ModelSpec
    rows: Sequence[Sequence[Value]]
    answers: Sequence[float | int | str]

    @property
    def scale(self) -> float:
        """The unit in which differences of answers count: small values are far apart by a thousandth."""
        return find_scale(self.answers) if self.spec.task == "regression" else 1.0


def read_holdout_rows(workspace: Workspace, model: str, version: str) -> HoldoutRows:
    """Reads the holdout of a version's run, and predicts it with the version's file.

    If run or snapshot are gone, the golden rows of the file replace the holdout.

    Raises:
        TrackingError: MLflow refuses, or the version has no file.
        ModelFileError: its file cannot be opened.
    """
    # Not at the top: only the replaying steps of a rollout need training's libraries.
    from ml_code.data.features import read_as_numbers  # noqa: PLC0415
    from ml_code.data.frames import replace_columns  # noqa: PLC0415
    from ml_code.data.snapshots import read_holdout  # noqa: PLC0415

    tracker = workspace.tracker
    opened = OnnxModel(tracker.read_model_file(model, version))
    names = [feature.name for feature in opened.spec.features]
    try:
        dataset, frame = read_holdout(workspace, tracker.read_run(tracker.read_version(model, version).run_id).tags)
        numeric = [feature.name for feature in opened.spec.features if feature.kind == "numeric"]
        numbers = {name: read_as_numbers(dataset, frame[name]) for name in numeric}
        known = replace_columns(frame, numbers)[names].head(LARGEST_HOLDOUT)
        rows = [[_as_value(cell) for cell in row] for row in known.to_numpy().tolist()]
    except (KeyError, ValueError, StorageError, DataCheckError) as error:  # ValueError: the catalog was corrected
        log.warning("%s version %s: found no holdout (%r), so its golden rows replace it", model, version, error)
        rows = opened.spec.golden.rows
    return HoldoutRows(opened.spec, rows, opened.predict_rows(rows).values)


def _as_value(cell: object) -> Value:
    """A cell as in JSON: a missing one is null."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None
    return cell if isinstance(cell, (int, float, str)) else str(cell)
