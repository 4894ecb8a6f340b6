"""Searches on a small table, with Optuna in memory or in SQLite and a tracking server that only writes down."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import optuna
import pytest
from optuna.trial import TrialState

from ml_code.data.snapshots import prepare
from ml_code.datasets import load_dataset
from ml_code.errors import TrainingError
from ml_code.families import FAMILIES, check_hyperparameters, find_family
from ml_code.search import trials
from ml_code.search.space import find_space, list_grid
from ml_code.search.trials import Search, finish_search, plan_search, run_trials, share_trials
from ml_code.settings import Settings
from ml_code.tracking import RunRecord
from ml_code.workspace import Workspace
from tests.unit.ml_code.passengers import PASSENGERS, make_rows

PARAMS = {"dataset": "passengers", "model_type": "sklearn", "estimator": "linear", "sampler": "random", "trials": 4}


class FakeTracker:
    """Runs by key, with all that was logged to them."""

    runs: ClassVar[dict[str, dict[str, Any]]] = {}

    def find_or_create_run(self, experiment: str, key: str | None, name: str, tags: dict[str, str]) -> RunRecord:
        self.runs.setdefault(str(key), {"tags": dict(tags), "metrics": {}, "params": {}})
        return RunRecord(str(key), "RUNNING", {}, {}, tags)

    def log(self, run_id: str, **what: dict[str, Any]) -> None:
        for kind, values in what.items():
            self.runs[run_id][kind] |= values

    def end_run(self, run_id: str, *, is_failed: bool = False) -> None:
        self.runs[run_id]["status"] = "FAILED" if is_failed else "FINISHED"


@pytest.fixture(autouse=True)
def runs(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    monkeypatch.setattr(FakeTracker, "runs", {})
    return FakeTracker.runs


@pytest.fixture
def workspace(settings: Settings) -> Workspace:
    return Workspace(settings, connect_tracker=lambda _: FakeTracker())


@pytest.fixture
def snapshot_uri(tmp_path: Path, workspace: Workspace) -> str:
    (tmp_path / "passengers.toml").write_text(PASSENGERS)
    make_rows().to_csv(tmp_path / "passengers.csv", index=False)
    return prepare(workspace, "passengers")


@pytest.fixture
def storage(tmp_path: Path) -> optuna.storages.BaseStorage:
    return optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/optuna.db")


def search_with(params: dict[str, Any], uri: str, storage: optuna.storages.BaseStorage, workspace: Workspace) -> Search:
    return plan_search(workspace, PARAMS | params, uri, "key", storage)


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_every_trial_is_a_run_nested_in_that_of_the_search(
    sampler: str, snapshot_uri: str, storage: Any, workspace: Workspace, runs: dict[str, dict[str, Any]]
) -> None:
    search = search_with({"sampler": sampler, "trials": 3}, snapshot_uri, storage, workspace)
    assert run_trials(workspace, search, 3, 0, storage) == 3
    best = finish_search(workspace, search, storage)
    trials = [run for run in runs.values() if "mlflow.parentRunId" in run["tags"]]
    assert [run["tags"]["mlflow.parentRunId"] for run in trials] == [search.parent_run_id] * 3
    assert all(0.5 < run["metrics"]["cv_accuracy"] <= 1 for run in trials)
    assert best["C"] in {run["params"]["C"] for run in trials}
    assert runs["key"]["metrics"]["cv_best"] == max(run["metrics"]["cv_accuracy"] for run in trials)
    assert runs["key"]["status"] == "FINISHED"


def test_a_grid_tries_each_point_once_however_many_workers_there_are(
    snapshot_uri: str, storage: Any, workspace: Workspace, runs: dict[str, dict[str, Any]]
) -> None:
    search = search_with({"sampler": "grid", "trials": 50}, snapshot_uri, storage, workspace)
    assert search.trials == 3
    for worker, count in enumerate(share_trials(search, 2)):
        run_trials(workspace, search, count, worker, storage)
    tried = sorted(run["params"]["C"] for run in runs.values() if run["params"])
    assert tried == pytest.approx([0.001, 0.316228, 100.0])


def test_a_worker_that_was_killed_gives_up_its_trial_and_runs_the_rest(
    snapshot_uri: str, storage: Any, workspace: Workspace
) -> None:
    search = search_with({}, snapshot_uri, storage, workspace)
    run_trials(workspace, search, 2, 0, storage)
    study = optuna.load_study(study_name="key", storage=storage)
    cut_off = study.ask()
    cut_off.set_user_attr(trials.STARTED_BY, 0)
    cut_off.suggest_float("C", 0.001, 100.0, log=True)
    others = study.ask()
    others.set_user_attr(trials.STARTED_BY, 1)
    assert run_trials(workspace, search, 4, 0, storage) == 4
    states = [trial.state for trial in study.get_trials()]
    assert states.count(TrialState.COMPLETE) + states.count(TrialState.PRUNED) == 4
    assert study.trials[cut_off.number].state is TrialState.FAIL
    assert study.trials[others.number].state is TrialState.RUNNING
    assert cut_off.params in [trial.params for trial in study.trials[others.number + 1 :]]


def test_a_trial_whose_first_folds_are_worse_than_most_is_pruned(
    snapshot_uri: str, storage: Any, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.9, 0.9, 0.9] * 5 + [0.1, 0.1, 0.1])
    monkeypatch.setattr(trials._Trials, "_score_fold", lambda *_: next(scores))
    search = search_with({"trials": 6}, snapshot_uri, storage, workspace)
    run_trials(workspace, search, 6, 0, storage)
    states = [trial.state for trial in optuna.load_study(study_name="key", storage=storage).trials]
    assert states == [TrialState.COMPLETE] * 5 + [TrialState.PRUNED]
    assert len(list(scores)) == 2


def test_a_search_of_which_every_trial_fails_says_so(
    snapshot_uri: str, storage: Any, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, runs: dict[str, Any]
) -> None:
    def fail(*_: object) -> float:
        raise TrainingError("no fit")

    monkeypatch.setattr(trials._Trials, "_score_fold", fail)
    search = search_with({"trials": 2}, snapshot_uri, storage, workspace)
    run_trials(workspace, search, 2, 0, storage)
    with pytest.raises(TrainingError, match="found no successful trial"):
        finish_search(workspace, search, storage)
    assert runs["key"]["status"] == "FAILED"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sampler": "annealing"}, "sampler: found 'annealing', expected one of tpe, random, grid"),
        ({"trials": 0}, "trials: found 0, expected 1 to 500"),
        ({"estimator": "svm"}, "estimator: found 'svm', expected one of random_forest"),
    ],
)
def test_an_unknown_sampler_or_number_of_trials_is_refused(
    wrong: dict[str, Any], message: str, snapshot_uri: str, storage: Any, workspace: Workspace
) -> None:
    with pytest.raises(TrainingError, match=message):
        search_with(wrong, snapshot_uri, storage, workspace)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_every_point_of_a_space_may_be_given_to_its_family(name: str, task: Any) -> None:
    dataset = load_dataset("iris").model_copy(update={"task": task})
    family = find_family(*FAMILIES[name], task)
    for point in list_grid(find_space(family, dataset), 500):
        check_hyperparameters(family, point)
