"""Trains a model, gates it against the champion, and registers it if it passed.

**What it does**: takes a snapshot of the dataset, trains, exports to ONNX, evaluates the exported file on the holdout,
and lets the gate decide. A version that passed is registered and its asset is emitted, which starts
`model_serving_pipeline`. A version that did not pass is not registered; the label of `gate` says why. One that does not
compare with the champion is registered but waits for a person (docs/operations.md).

**What starts it**: by hand with a form (dataset, model type, estimator, hyperparameters), or the asset
`dataset/<name>` when a file was accepted: one training for each dataset named in the events, with the champion's model
type, estimator and hyperparameters, on all accepted files.

**What it writes**: one MLflow run per dataset and DAG run in the experiment of the dataset's name, with parameters,
metrics, plots, the decision and the exported file; for a pass a version of the registered model of that name.

## Triage
- `choose_datasets` red: a model type, estimator or hyperparameter that is not offered; the log lists what is. After
  new data, that of the champion: train one by hand.
- `prepare` red: the source was not reached, or its rows break the catalog's checks; the log names row and column.
- `train` red: the estimator failed on the data, or the exported file answers otherwise than the fitted pipeline.
- `evaluate`, `gate`, `register` red: MLflow was not reached. Safe to clear: the run is found again, nothing is doubled.
- `rejected` green: nothing is broken; the challenger was not better enough. Its log says how to force it.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import (
    Asset,
    AssetAlias,
    AssetAny,
    ExceptionRetryPolicy,
    Param,
    RetryAction,
    RetryRule,
    dag,
    get_current_context,
    task,
    task_group,
)
from airflow.sdk.exceptions import AirflowSkipException
from notices import tell_failure, tell_success

from ml_code.datasets import load_catalog
from ml_code.families import ESTIMATORS, MODEL_TYPES

CATALOG = load_catalog()
NAMES = CATALOG.list_names()

# What a second try would find again.
FINAL_ERRORS = ("CatalogError", "DataCheckError", "ExportError", "GateError", "SettingsError", "TrainingError")


@dag(
    schedule=AssetAny(*[Asset(f"dataset/{name}") for name in NAMES]),
    start_date=pendulum.datetime(2026, 1, 1, tz="Asia/Seoul"),
    catchup=False,
    max_active_runs=4,
    is_paused_upon_creation=False,
    tags=["ml", "training"],
    doc_md=(__doc__ or "") + CATALOG.describe_problems(),
    on_success_callback=tell_success(),
    default_args={
        "on_failure_callback": tell_failure(),
        # Ten, twenty and forty seconds: longer than a restart of MLflow or of the object store takes.
        "retries": 3,
        "retry_delay": pendulum.duration(seconds=10),
        "retry_exponential_backoff": True,
        "retry_policy": ExceptionRetryPolicy(
            rules=[RetryRule([f"ml_code.errors.{name}" for name in FINAL_ERRORS], RetryAction.FAIL)]
        ),
    },
    params={
        "dataset": Param(CATALOG.choose_default(), enum=NAMES, description="Dataset of the catalog"),
        "model_type": Param(MODEL_TYPES[0], enum=list(MODEL_TYPES), description="Library"),
        "estimator": Param(None, enum=[None, *ESTIMATORS], description="For sklearn only; empty: random_forest"),
        "hyperparameters": Param({}, type=["object", "null"], description='Such as {"n_estimators": 200}'),
        "force": Param(False, type="boolean", description="Let the version pass whatever the gate says; is recorded"),
    },
)
def mlops_training_pipeline() -> None:
    @task
    def choose_datasets(params: dict[str, Any], triggering_asset_events: Any = None) -> list[dict[str, Any]]:
        from ml_code import plans

        # The alias through which an asset was emitted stands among the events as well.
        names = [asset.name for asset in triggering_asset_events or {}]
        datasets = [name.removeprefix("dataset/") for name in names if name.startswith("dataset/")]
        return plans.plan_retrainings(datasets) if datasets else [plans.plan_training(params)]

    @task(map_index_template="{{ label }}")
    def prepare(training: dict[str, Any]) -> str:
        from ml_code import pipeline

        get_current_context()["label"] = training["dataset"]
        return pipeline.prepare(training["dataset"])

    @task(map_index_template="{{ label }}", pool="training")
    def train(training: dict[str, Any], snapshot_uri: str, ti: Any = None) -> str:
        from ml_code import pipeline, plans

        get_current_context()["label"] = training["dataset"]
        origin = plans.RunOrigin(ti.dag_id, ti.run_id, ti.task_id, ti.map_index)
        return pipeline.train(snapshot_uri=snapshot_uri, origin=origin, **plans.training_arguments(training))

    @task(map_index_template="{{ label }}")
    def evaluate(mlflow_run_id: str) -> str:
        from ml_code import pipeline

        metrics = pipeline.evaluate(mlflow_run_id)
        get_current_context()["label"] = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
        return mlflow_run_id

    @task(map_index_template="{{ label }}")
    def gate(training: dict[str, Any], mlflow_run_id: str) -> str:
        from ml_code import pipeline

        decision = pipeline.decide(mlflow_run_id, trigger=training["trigger"], force=training["force"])
        get_current_context()["label"] = pipeline.verdict(decision)
        return "approve" if decision.is_promoted and decision.needs_approval else decision.outcome

    # In a mapped group a branch operator skips nothing (Airflow 3.3.2), so each side looks at the outcome itself.
    @task
    def register(mlflow_run_id: str, outcome: str) -> str:
        skip_unless(outcome, "promote", "approve")
        from ml_code import pipeline

        return pipeline.register(mlflow_run_id)

    @task(outlets=[AssetAlias("trained-model")])
    def promoted(training: dict[str, Any], version: str, outcome: str, outlet_events: Any = None) -> None:
        # A version that waits for a person is registered, but starts no rollout.
        skip_unless(outcome, "promote")
        asset = Asset(f"model/{training['dataset']}")
        outlet_events[AssetAlias("trained-model")].add(asset, extra={"version": version})

    @task
    def rejected(mlflow_run_id: str, outcome: str) -> None:
        skip_unless(outcome, "reject")
        from ml_code import pipeline

        pipeline.explain_rejection(mlflow_run_id)

    @task_group
    def train_dataset(training: dict[str, Any]) -> None:
        mlflow_run_id = evaluate(train(training, prepare(training)))
        outcome = gate(training, mlflow_run_id)
        promoted(training, register(mlflow_run_id, outcome), outcome)
        rejected(mlflow_run_id, outcome)

    train_dataset.expand(training=choose_datasets())


def skip_unless(outcome: str, *expected: str) -> None:
    if outcome not in expected:
        raise AirflowSkipException(f"the gate's outcome is {outcome}")


mlops_training_pipeline()
