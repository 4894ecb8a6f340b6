"""The reference that travels with a version, among the files of its run."""

from __future__ import annotations

import logging

from ml_code.errors import DataCheckError, DigestError, MlopsError, TrackingError
from ml_code.gate.challenger import UNKNOWN_HOLDOUT, read_split
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.tracking import RunRecord
from ml_code.training.reference import Reference, make_reference, read_reference
from ml_code.workspace import Workspace

log = logging.getLogger(__name__)


def find_reference(workspace: Workspace, model: str, version: str) -> Reference | None:
    """Reads the reference of a version; None if it has none.

    A version from before this product made references gets one from its training rows. A file that was trained
    elsewhere has none, because nobody knows its training rows.

    Raises:
        TrackingError: MLflow refuses or cannot be reached.
    """
    tracker = workspace.tracker
    run = tracker.read_run(tracker.read_version(model, version).run_id)
    try:
        content = tracker.read_reference(run)
        return _make_late(workspace, run) if content is None else read_reference(content)
    except (DataCheckError, DigestError) as error:
        log.warning("%s version %s: %s", model, version, error)
        return None


def store_reference(workspace: Workspace, run_id: str, reference: Reference) -> None:
    """Gives a run's version this reference, such as the windows that called for its training.

    Raises:
        TrackingError: MLflow refuses or cannot be reached.
    """
    workspace.tracker.log_reference(run_id, reference.render())


def _make_late(workspace: Workspace, run: RunRecord) -> Reference | None:
    if run.tags.get("holdout_id", UNKNOWN_HOLDOUT) == UNKNOWN_HOLDOUT:
        return None
    try:
        dataset, split = read_split(workspace, run)
        made = make_reference(dataset, split, OnnxModel(workspace.tracker.read_candidate(run)))
    except TrackingError:
        raise
    except MlopsError as error:  # such as a snapshot that is gone, or a catalog that was corrected since
        log.warning("run %s: found no reference and cannot make one (%s); train again", run.run_id, error)
        return None
    store_reference(workspace, run.run_id, made)
    return made
