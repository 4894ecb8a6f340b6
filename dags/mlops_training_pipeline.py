"""Trains a model, compares it with the champion in the gate, and registers it if it passed.

**What it does**: takes a snapshot of the dataset, trains, exports to ONNX, evaluates the exported file on the holdout,
and runs the gate. The gate has three outcomes:
- passed: the version is registered and its asset is emitted, which starts `model_serving_pipeline`;
- rejected: nothing is registered, and the label of `gate` gives the reason;
- undecided: the version is registered but waits for a person (docs/operations.md). It does not compare with the
  champion, or the holdout is too small to tell.

`fit` tells where the rows lie during the fit. `external` reads them from the disk block by block, and gives the model
that `memory` gives. `cluster` has several workers fit shares of them. `auto` reads from the disk if the snapshot would
take more than half of the memory. Of a fit that is not in memory at most a million rows of the holdout are measured
(`holdout_measured_rows`).

`force` registers what the gate does not pass, and its rollout asks another person under *Required actions*.

**What starts it**:
- by hand, with a form (dataset, model type, estimator, hyperparameters, fit);
- the asset `dataset/<name>`, when a file was accepted. It starts one training for each dataset named in the events,
  on all accepted files, with the champion's model type, estimator and hyperparameters.

**What it writes**: one MLflow run per dataset and DAG run, in the experiment of the dataset's name. The run holds
parameters, metrics, plots, the decision and the exported file. It has the scores of a constant and of a linear model
too, and the score of each slice (`slices.json`). A pass adds a version of the registered model of that
name.

## Triage
- `choose_datasets` red: the model type, estimator or hyperparameter is unknown. The log lists the known ones. After new
  data it is the champion's: train one by hand.
- `prepare` red: the source was not reached, or its rows break the catalog's checks. The log names row and column.
- `train` red: the estimator failed on the data, or the exported file predicts differently from the fitted pipeline. Of
  a fit by `external` the disk may be full. Of one by `cluster` a worker may be gone: clear the task.
- `evaluate`, `gate`, `register` red: MLflow was not reached. Safe to clear: the task finds the same run, so nothing is
  duplicated. `GateError: ... train again`: the dataset's file was corrected since the training. Trigger a new run.
- `rejected` green: nothing is broken; the challenger was not better enough. Its log says how to force it. Each further
  model on the same rows must win by more, because one of many wins by chance.
- `retrain_with_new_params` skipped: there was no rejection, `max_retrain` is 0, or no search found a model that passes.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import (
    Asset,
    AssetAlias,
    AssetAny,
    Param,
    dag,
    get_current_context,
    task,
    task_group,
    timezone,
)
from airflow.sdk.exceptions import AirflowSkipException
from notices import tell_success
from task_defaults import FITS, HERE, make_task_defaults

from ml_code.datasets import load_catalog
from ml_code.families import ESTIMATORS, MODEL_TYPES
from ml_code.ways import WAYS

CATALOG = load_catalog()
NAMES = CATALOG.list_names()


@task(outlets=[AssetAlias("trained-model")], **(FITS | HERE))
def retrain_with_new_params(
    training: dict[str, Any], snapshot_uri: str, outcome: str, ti: Any = None, outlet_events: Any = None
) -> None:
    skip_unless(outcome, "reject")
    if not training["max_retrain"]:
        raise AirflowSkipException("max_retrain is 0")
    from ml_code.errors import HeldBackError
    from ml_code.search import retraining
    from ml_code.training import plans
    from ml_code.workspace import open_workspace

    origin = plans.RunOrigin(ti.dag_id, ti.run_id, ti.task_id, ti.map_index)
    try:
        version = retraining.retrain(open_workspace(), training, snapshot_uri, origin)
    except HeldBackError as error:
        raise AirflowSkipException(str(error)) from error
    asset = Asset(f"model/{training['dataset']}")
    outlet_events[AssetAlias("trained-model")].add(asset, extra={"version": version})


@dag(
    schedule=AssetAny(*[Asset(f"dataset/{name}") for name in NAMES]),
    start_date=timezone.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=4,
    is_paused_upon_creation=False,
    tags=["ml", "training"],
    doc_md=(__doc__ or "") + CATALOG.describe_problems(),
    on_success_callback=tell_success(),
    default_args=make_task_defaults(),
    params={
        "dataset": Param(CATALOG.choose_default(), enum=NAMES, description="Dataset of the catalog"),
        "model_type": Param(MODEL_TYPES[0], enum=list(MODEL_TYPES), description="Library"),
        "estimator": Param(None, enum=[None, *ESTIMATORS], description="For sklearn only; empty: random_forest"),
        "hyperparameters": Param({}, type=["object", "null"], description='Such as {"n_estimators": 200}'),
        "fit": Param("auto", enum=list(WAYS), description="Where the rows lie during the fit; external: on a disk"),
        "max_retrain": Param(
            0, type="integer", minimum=0, maximum=5, description="Small searches after a rejection, each gated again"
        ),
        "force": Param(False, type="boolean", description="Register what the gate rejects; its rollout asks a person"),
    },
)
def mlops_training_pipeline() -> None:
    @task
    def choose_datasets(params: dict[str, Any], triggering_asset_events: Any = None) -> list[dict[str, Any]]:
        from ml_code.training import plans
        from ml_code.workspace import open_workspace

        # The events also contain the alias through which an asset was emitted.
        names = [asset.name for asset in triggering_asset_events or {}]
        datasets = [name.removeprefix("dataset/") for name in names if name.startswith("dataset/")]
        return plans.plan_retrainings(open_workspace(), datasets) if datasets else [plans.plan_training(params)]

    @task(map_index_template="{{ label }}")
    def prepare(training: dict[str, Any]) -> str:
        from ml_code.data import snapshots
        from ml_code.workspace import open_workspace

        get_current_context()["label"] = training["dataset"]
        return snapshots.prepare(open_workspace(), training["dataset"])

    @task(map_index_template="{{ label }}", **FITS)
    def train(training: dict[str, Any], snapshot_uri: str, ti: Any = None) -> str:
        from ml_code.training import plans, run
        from ml_code.workspace import open_workspace

        get_current_context()["label"] = training["dataset"]
        origin = plans.RunOrigin(ti.dag_id, ti.run_id, ti.task_id, ti.map_index)
        return run.train(
            open_workspace(), snapshot_uri=snapshot_uri, origin=origin, **plans.training_arguments(training)
        )

    @task(map_index_template="{{ label }}")
    def evaluate(mlflow_run_id: str) -> str:
        from ml_code.gate import judging
        from ml_code.workspace import open_workspace

        metrics = judging.evaluate(open_workspace(), mlflow_run_id)
        get_current_context()["label"] = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
        return mlflow_run_id

    @task(map_index_template="{{ label }}", **HERE)
    def gate(training: dict[str, Any], mlflow_run_id: str, dag_run: Any = None) -> str:
        from ml_code.gate import judging
        from ml_code.gate.decision import verdict
        from ml_code.workspace import open_workspace

        trigger, force = training["trigger"], training["force"]
        asker = dag_run.triggering_user_name or "a form"
        decision = judging.decide(open_workspace(), mlflow_run_id, trigger=trigger, force=force, asker=asker)
        get_current_context()["label"] = verdict(decision)
        return "approve" if decision.is_promoted and decision.needs_approval else decision.outcome

    # In a mapped group a branch operator skips nothing (Airflow 3.3.2), so each task checks the outcome.
    @task(**HERE)
    def register(mlflow_run_id: str, outcome: str) -> str:
        skip_unless(outcome, "promote", "approve")
        from ml_code.gate import judging
        from ml_code.workspace import open_workspace

        return judging.register(open_workspace(), mlflow_run_id)

    @task(outlets=[AssetAlias("trained-model")])
    def promoted(training: dict[str, Any], version: str, outcome: str, outlet_events: Any = None) -> None:
        # A version that waits for approval is registered, but starts no rollout.
        skip_unless(outcome, "promote")
        asset = Asset(f"model/{training['dataset']}")
        outlet_events[AssetAlias("trained-model")].add(asset, extra={"version": version})

    @task
    def rejected(mlflow_run_id: str, outcome: str) -> None:
        skip_unless(outcome, "reject")
        from ml_code.gate import judging
        from ml_code.workspace import open_workspace

        judging.explain_rejection(open_workspace(), mlflow_run_id)

    @task_group
    def train_dataset(training: dict[str, Any]) -> None:
        snapshot_uri = prepare(training)
        mlflow_run_id = evaluate(train(training, snapshot_uri))
        outcome = gate(training, mlflow_run_id)
        promoted(training, register(mlflow_run_id, outcome), outcome)
        rejected(mlflow_run_id, outcome)
        retrain_with_new_params(training, snapshot_uri, outcome)

    train_dataset.expand(training=choose_datasets())


def skip_unless(outcome: str, *expected: str) -> None:
    if outcome not in expected:
        raise AirflowSkipException(f"the gate's outcome is {outcome}")


mlops_training_pipeline()
