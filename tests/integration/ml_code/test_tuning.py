"""Searches against real servers: Optuna's tables in Postgres, runs in MLflow."""

from __future__ import annotations

import mlflow
import optuna
import pytest

from ml_code.data import snapshots
from ml_code.errors import HeldBackError
from ml_code.gate import judging
from ml_code.search import retraining, trials
from ml_code.settings import Settings
from ml_code.tracking import Tracker
from ml_code.training import run
from ml_code.training.plans import RunOrigin, plan_training
from ml_code.warehouse import open_warehouse
from ml_code.workspace import Workspace, open_workspace
from tests.servers import MlflowServer

PARAMS = {"dataset": "iris", "model_type": "sklearn", "estimator": "linear", "sampler": "tpe", "trials": 4}


@pytest.fixture(scope="module")
def storage(stack_settings: Settings) -> optuna.storages.BaseStorage:
    open_warehouse(stack_settings).migrate()
    return trials.open_storage(open_workspace(stack_settings))


@pytest.fixture(scope="module")
def snapshot_uri(stack_settings: Settings) -> str:
    return snapshots.prepare(open_workspace(stack_settings), "iris")


def test_two_workers_share_a_search_whose_trials_are_nested_runs(
    workspace: Workspace, storage: optuna.storages.BaseStorage, snapshot_uri: str
) -> None:
    search = trials.plan_search(workspace, PARAMS, snapshot_uri, "shared", storage)
    assert trials.plan_search(workspace, PARAMS, snapshot_uri, "shared", storage) == search
    for worker, share in enumerate(trials.share_trials(search, 2)):
        trials.run_trials(workspace, search, share, worker, storage)
    best = trials.finish_search(workspace, search, storage)
    assert set(best) == {"C"}
    Tracker(workspace.settings)
    nested = mlflow.search_runs(
        experiment_names=["iris"], filter_string=f"tags.`mlflow.parentRunId` = '{search.parent_run_id}'"
    )
    assert len(nested) == 4
    with open_warehouse(workspace.settings).transaction() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT table_schema FROM information_schema.tables WHERE table_name = 'trials'")
        assert cursor.fetchall() == [("optuna",)]


def test_a_rejected_training_searches_as_often_as_it_may_and_is_gated_again(
    workspace: Workspace, snapshot_uri: str, monkeypatch: pytest.MonkeyPatch, mlflow_server: MlflowServer
) -> None:
    monkeypatch.setattr(retraining, "TRIALS", 2)
    training = plan_training({**PARAMS, "max_retrain": 1})
    run_id = run.train(workspace, "iris", snapshot_uri, "sklearn", "linear")
    judging.evaluate(workspace, run_id)
    judging.decide(workspace, run_id)
    version = judging.register(workspace, run_id)
    mlflow_server.move_alias("iris", version)
    origin = RunOrigin("mlops_training_pipeline", "manual", "retrain_with_new_params")
    try:
        with pytest.raises(HeldBackError, match=r"after 1 searches: iris: rejected, .* not better by more than"):
            retraining.retrain(workspace, training, snapshot_uri, origin)
    finally:
        mlflow_server.move_alias("iris", None)
    assert workspace.tracker.list_versions("iris")[0].version == version
