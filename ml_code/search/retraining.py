"""Retraining after a rejection: small searches of hyperparameters; the best model of each goes to the gate."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ml_code.errors import HeldBackError
from ml_code.gate import judging, selection
from ml_code.search import trials
from ml_code.training import run
from ml_code.training.plans import RunOrigin, training_arguments
from ml_code.workspace import Workspace

TRIALS = 8
"""Trials of one search, which is short because it runs inside a training."""

log = logging.getLogger(__name__)


def retrain(workspace: Workspace, training: Mapping[str, Any], snapshot_uri: str, origin: RunOrigin) -> str:
    """Searches up to `max_retrain` times, and returns the version of the first model that passes the gate.

    Args:
        workspace: with MLflow, the store and the catalog.
        training: plan of the rejected training.
        snapshot_uri: its rows.
        origin: the running Airflow task.

    Raises:
        HeldBackError: no model passed the gate, or the one that passed awaits approval.
        TrainingError: no trial of a search succeeded.
        TrackingError: MLflow refuses.
    """
    reason = "max_retrain is 0"
    for number in range(training["max_retrain"]):
        attempt = replace(origin, task_id=f"{origin.task_id}/{number}")
        params = {**training, "sampler": "random", "trials": TRIALS}
        best = trials.search_at_once(workspace, params, snapshot_uri, f"{attempt.key}/search")
        arguments = {**training_arguments(training), "hyperparameters": best}
        run_id = run.train(workspace, snapshot_uri=snapshot_uri, origin=attempt, **arguments)
        judging.evaluate(workspace, run_id)
        try:
            return selection.register_for_rollout(workspace, run_id, training["trigger"])
        except HeldBackError as error:
            if error.version is not None:
                raise
            reason = str(error)
            log.info("search %d of %d: %s", number + 1, training["max_retrain"], reason)
    raise HeldBackError(f"after {training['max_retrain']} searches: {reason}")
