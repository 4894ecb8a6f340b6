"""Searches better hyperparameters and submits a model with the best ones to the gate.

**What it does**: `plan` takes a snapshot and creates a study. The `search` tasks share the trials and run in parallel,
by cross-validation on the rows outside the holdout. They stop a trial early when its first folds are worse than most.
`train_best` trains one model with the best hyperparameters, and the gate judges it on the holdout like any other.

**What starts it**: by hand, with a form (dataset, model type, estimator, sampler, trials, workers).

**What it writes**: in the experiment of the dataset's name one run of the search, with a nested run for each trial;
Optuna's tables in the schema `optuna` of the warehouse. A pass adds a version of the registered model and the asset
`model/<name>`, which starts `model_serving_pipeline`.

## Triage
- `plan` red: the sampler, model type or estimator is unknown. The log lists the known ones.
- `search` red: MLflow, the store or the warehouse was not reached. Safe to clear: finished trials are not repeated.
- `train_best` red with "no trial that ended well": look at the trials' runs in MLflow.
- `train_best` skipped: nothing is broken; the best one was not better than the champion. Its log says by how much.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from airflow.sdk import Asset, AssetAlias, Param, dag, get_current_context, task, timezone
from airflow.sdk.exceptions import AirflowSkipException
from notices import tell_success
from task_defaults import FITS, HERE, make_task_defaults

from ml_code.datasets import load_catalog
from ml_code.families import ESTIMATORS, MODEL_TYPES

CATALOG = load_catalog()


@dag(
    schedule=None,
    start_date=timezone.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["ml", "tuning"],
    doc_md=(__doc__ or "") + CATALOG.describe_problems(),
    on_success_callback=tell_success(),
    default_args=make_task_defaults(),
    params={
        "dataset": Param(CATALOG.choose_default(), enum=CATALOG.list_names(), description="Dataset of the catalog"),
        "model_type": Param(MODEL_TYPES[0], enum=list(MODEL_TYPES), description="Library"),
        "estimator": Param(None, enum=[None, *ESTIMATORS], description="For sklearn only; empty: random_forest"),
        "sampler": Param("tpe", enum=["tpe", "random", "grid"], description="How the next trial is chosen"),
        "trials": Param(12, type="integer", minimum=1, maximum=500, description="Of all workers together"),
        "workers": Param(2, type="integer", minimum=1, maximum=16, description="Tasks that run trials in parallel"),
    },
)
def tune_model() -> None:
    @task
    def plan(params: dict[str, Any], ti: Any = None) -> list[dict[str, Any]]:
        from ml_code.data import snapshots
        from ml_code.search import trials
        from ml_code.training import plans
        from ml_code.workspace import open_workspace

        workspace = open_workspace()
        snapshot_uri = snapshots.prepare(workspace, params["dataset"])
        key = plans.RunOrigin(ti.dag_id, ti.run_id, ti.task_id).key
        search = trials.plan_search(workspace, params, snapshot_uri, key, trials.open_storage(workspace))
        shares = trials.share_trials(search, params["workers"])
        return [{"search": asdict(search), "worker": worker, "trials": share} for worker, share in enumerate(shares)]

    @task(map_index_template="{{ label }}", **FITS)
    def search(share: dict[str, Any]) -> dict[str, Any]:
        from ml_code.search import trials
        from ml_code.workspace import open_workspace

        workspace, searched = open_workspace(), trials.Search(**share["search"])
        storage = trials.open_storage(workspace)
        done = trials.run_trials(workspace, searched, share["trials"], share["worker"], storage)
        get_current_context()["label"] = f"{done} trials"
        return share["search"]

    @task(outlets=[AssetAlias("tuned-model")], **(FITS | HERE))
    def train_best(searches: list[dict[str, Any]], ti: Any = None, outlet_events: Any = None) -> str:
        from ml_code.errors import HeldBackError
        from ml_code.gate import judging, selection
        from ml_code.search import trials
        from ml_code.training import plans, run
        from ml_code.workspace import open_workspace

        workspace = open_workspace()
        searched = trials.Search(**next(iter(searches)))
        best = trials.finish_search(workspace, searched, trials.open_storage(workspace))
        mlflow_run_id = run.train(
            workspace,
            searched.dataset,
            searched.snapshot_uri,
            searched.model_type,
            searched.estimator,
            hyperparameters=best,
            origin=plans.RunOrigin(ti.dag_id, ti.run_id, ti.task_id),
        )
        judging.evaluate(workspace, mlflow_run_id)
        try:
            version = selection.register_for_rollout(workspace, mlflow_run_id)
        except HeldBackError as error:
            raise AirflowSkipException(str(error)) from error
        outlet_events[AssetAlias("tuned-model")].add(Asset(f"model/{searched.dataset}"), extra={"version": version})
        return f"models:/{searched.dataset}/{version}"

    train_best(search.expand(share=plan()))


tune_model()
