"""A rejected training searches as often as it may, with everything behind the search as a fake."""

from __future__ import annotations

from typing import Any

import pytest

from ml_code.errors import HeldBackError
from ml_code.search import retraining
from ml_code.training.plans import RunOrigin
from ml_code.workspace import Workspace

TRAINING = {
    "dataset": "iris",
    "model_type": "sklearn",
    "estimator": "linear",
    "hyperparameters": {},
    "max_retrain": 5,
    "trigger": "data",
}
ORIGIN = RunOrigin("mlops_training_pipeline", "manual__1", "retrain", 0)


class Searches:
    """Counts the searches, and rejects the models of the first few."""

    def __init__(self, rejected: int, version: str | None = None) -> None:
        self.rejected, self.version = rejected, version
        self.keys: list[str] = []
        self.trained: list[dict[str, Any]] = []

    def search(self, workspace: Workspace, params: dict[str, Any], snapshot_uri: str, key: str) -> dict[str, float]:
        self.keys.append(key)
        return {"C": float(len(self.keys))}

    def train(self, workspace: Workspace, **arguments: Any) -> str:
        self.trained.append(arguments)
        return f"run {len(self.trained)}"

    def register(self, workspace: Workspace, run_id: str, trigger: str) -> str:
        if len(self.keys) <= self.rejected:
            raise HeldBackError(f"{run_id}: rejected", self.version)
        return "4"


def replace_steps(searches: Searches, monkeypatch: pytest.MonkeyPatch) -> Searches:
    monkeypatch.setattr(retraining.trials, "search_at_once", searches.search)
    monkeypatch.setattr(retraining.run, "train", searches.train)
    monkeypatch.setattr(retraining.judging, "evaluate", lambda *_: {})
    monkeypatch.setattr(retraining.selection, "register_for_rollout", searches.register)
    return searches


def test_every_search_that_is_allowed_is_made_before_it_gives_up(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches = replace_steps(Searches(rejected=9), monkeypatch)
    with pytest.raises(HeldBackError, match="after 5 searches: run 5: rejected"):
        retraining.retrain(workspace, TRAINING, "snapshot", ORIGIN)
    assert len(set(searches.keys)) == 5
    assert [trained["hyperparameters"]["C"] for trained in searches.trained] == [1, 2, 3, 4, 5]


def test_the_first_model_that_passes_ends_the_searches(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    searches = replace_steps(Searches(rejected=2), monkeypatch)
    assert retraining.retrain(workspace, TRAINING, "snapshot", ORIGIN) == "4"
    assert len(searches.keys) == 3


def test_a_version_that_waits_for_a_person_ends_the_searches(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches = replace_steps(Searches(rejected=9, version="4"), monkeypatch)
    with pytest.raises(HeldBackError, match="run 1"):
        retraining.retrain(workspace, TRAINING, "snapshot", ORIGIN)
    assert len(searches.keys) == 1
