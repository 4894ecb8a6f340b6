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
from tests.servers import MlflowServer

PARAMS = {"dataset": "iris", "model_type": "sklearn", "estimator": "linear", "sampler": "tpe", "trials": 4}


@pytest.fixture(scope="module")
def storage(stack_settings: Settings) -> optuna.storages.BaseStorage:
    open_warehouse(stack_settings).migrate()
    return trials.open_storage(stack_settings)


@pytest.fixture(scope="module")
def snapshot_uri(stack_settings: Settings) -> str:
    return snapshots.prepare("iris", settings=stack_settings)


def test_two_workers_share_a_search_whose_trials_are_nested_runs(
    stack_settings: Settings, storage: optuna.storages.BaseStorage, snapshot_uri: str
) -> None:
    search = trials.plan_search(PARAMS, snapshot_uri, "shared", storage, settings=stack_settings)
    assert trials.plan_search(PARAMS, snapshot_uri, "shared", storage, settings=stack_settings) == search
    for worker, share in enumerate(trials.share_trials(search, 2)):
        trials.run_trials(search, share, worker, storage, settings=stack_settings)
    best = trials.finish_search(search, storage, settings=stack_settings)
    assert set(best) == {"C"}
    Tracker(stack_settings)
    nested = mlflow.search_runs(
        experiment_names=["iris"], filter_string=f"tags.`mlflow.parentRunId` = '{search.parent_run_id}'"
    )
    assert len(nested) == 4
    with open_warehouse(stack_settings).transaction() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT table_schema FROM information_schema.tables WHERE table_name = 'trials'")
        assert cursor.fetchall() == [("optuna",)]


def test_a_rejected_training_searches_as_often_as_it_may_and_is_gated_again(
    stack_settings: Settings, snapshot_uri: str, monkeypatch: pytest.MonkeyPatch, mlflow_server: MlflowServer
) -> None:
    monkeypatch.setattr(retraining, "TRIALS", 2)
    training = plan_training({**PARAMS, "max_retrain": 1})
    run_id = run.train("iris", snapshot_uri, "sklearn", "linear", settings=stack_settings)
    judging.evaluate(run_id, settings=stack_settings)
    judging.decide(run_id, settings=stack_settings)
    version = judging.register(run_id, settings=stack_settings)
    mlflow_server.move_alias("iris", version)
    origin = RunOrigin("mlops_training_pipeline", "manual", "retrain_with_new_params")
    try:
        with pytest.raises(HeldBackError, match=r"after 1 searches: iris: rejected, .* not better by more than"):
            retraining.retrain(training, snapshot_uri, origin, settings=stack_settings)
    finally:
        mlflow_server.move_alias("iris", None)
    assert Tracker(stack_settings).list_versions("iris")[0].version == version
