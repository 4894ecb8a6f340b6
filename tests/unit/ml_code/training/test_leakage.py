"""No model sees the holdout: a model that learns noise by heart is worth nothing there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml_code.data import snapshots
from ml_code.data.holdout import split_holdout
from ml_code.gate import judging
from ml_code.search import trials
from ml_code.settings import Settings
from ml_code.tracking import RunRecord
from ml_code.training import run
from ml_code.workspace import Workspace

NOISE = """
name = "noise"
task = "classification"
target = "label"
numeric = ["first", "second"]
key = "id"
source = { kind = "file", path = "noise.csv" }
gate = { metric = "accuracy", threshold = 0.5 }
"""

ROWS = 600


class FakeTracker:
    """Keeps the tags of its one run and the exported file."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self.params: dict[str, Any] = {}
        self.metrics: dict[str, float] = {}
        self.content = b""

    def find_or_create_run(self, experiment: str, key: str | None, name: str, tags: Mapping[str, str]) -> RunRecord:
        self.tags |= tags
        return self.read_run("run")

    def read_run(self, run_id: str) -> RunRecord:
        return RunRecord(run_id, "RUNNING", {}, {}, self.tags)

    def log(self, run_id: str, **what: Mapping[str, Any]) -> None:
        self.params |= what.get("params", {})
        self.metrics |= what.get("metrics", {})

    def log_candidate(self, run_id: str, content: bytes) -> None:
        self.content = content

    def read_candidate(self, run: RunRecord) -> bytes:
        return self.content

    def __getattr__(self, name: str) -> Any:
        """Pictures, datasets, the fitted pipeline and the end of the run go nowhere."""
        return lambda *_, **__: None


@pytest.fixture
def tracker() -> FakeTracker:
    return FakeTracker()


@pytest.fixture
def noise(tmp_path: Path, settings: Settings, tracker: FakeTracker) -> tuple[Workspace, str]:
    """A workspace, and a snapshot of rows whose labels nothing explains."""
    random = np.random.default_rng(7)
    (tmp_path / "noise.toml").write_text(NOISE)
    cells = {"first": random.normal(size=ROWS), "second": random.normal(size=ROWS)}
    frame = pd.DataFrame({"id": range(ROWS), **cells, "label": random.choice(["no", "yes"], ROWS)})
    frame.to_csv(tmp_path / "noise.csv", index=False)
    workspace = Workspace(settings, connect_tracker=lambda _: tracker)  # type: ignore[arg-type, return-value]
    return workspace, snapshots.prepare(workspace, "noise")


def test_memorized_rows_score_no_better_on_the_holdout(noise: tuple[Workspace, str], tracker: FakeTracker) -> None:
    workspace, uri = noise
    run_id = run.train(workspace, "noise", uri, "sklearn", "random_forest")
    accuracy = judging.evaluate(workspace, run_id)["accuracy"]
    assert 0.3 < accuracy < 0.7
    assert 90 < tracker.params["holdout_rows"] < 150
    assert tracker.params["train_rows"] + tracker.params["holdout_rows"] == ROWS


def test_a_search_fits_and_scores_on_training_rows_alone(
    noise: tuple[Workspace, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, uri = noise
    fit_pipeline, seen = trials.fit_pipeline, set[Any]()
    score_fold = trials._Trials._score_fold

    def fit(dataset: Any, train: pd.DataFrame, *rest: Any) -> Any:
        seen.update(train["id"])
        return fit_pipeline(dataset, train, *rest)

    def score(self: Any, hyperparameters: Any, train: pd.DataFrame, test: pd.DataFrame) -> float:
        seen.update(test["id"])
        return score_fold(self, hyperparameters, train, test)

    monkeypatch.setattr(trials, "fit_pipeline", fit)
    monkeypatch.setattr(trials._Trials, "_score_fold", score)
    params = {"dataset": "noise", "model_type": "sklearn", "estimator": "linear", "sampler": "random", "trials": 2}
    trials.search_at_once(workspace, params, uri, "key")
    rows = snapshots.read_snapshot(workspace, uri)
    split = split_holdout(workspace.load_dataset("noise"), rows)
    assert seen == set(split.train["id"])
    assert not seen & set(split.holdout["id"])
