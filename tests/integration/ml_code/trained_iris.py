"""An iris model of the real servers, up to its version."""

from __future__ import annotations

from ml_code.gate import judging
from ml_code.training import run
from ml_code.workspace import Workspace

FAMILIES = [
    ("sklearn", "random_forest"),
    ("sklearn", "gradient_boosting"),
    ("sklearn", "linear"),
    ("xgboost", None),
    ("lightgbm", None),
]
"""Each kind of model that is trained, with its estimator."""


def train_and_register(workspace: Workspace, snapshot_uri: str, model_type: str, estimator: str | None = None) -> str:
    run_id = run.train(workspace, "iris", snapshot_uri, model_type, estimator)
    judging.evaluate(workspace, run_id)
    judging.decide(workspace, run_id)
    return judging.register(workspace, run_id)
