"""Trains two kinds of model on the same rows and submits the better one to the gate.

**What it does**: `feature_engineering` takes a snapshot of iris. `train_rf` and `train_gb` train a random forest and
gradient boosting on it, and evaluate them on its holdout. `select_best_model` submits the better one to the gate.

**What starts it**: once a day, or a person.

**What it writes**: two MLflow runs in the experiment `iris`. If the better one passes the gate, also a version of the
registered model `iris` and the asset `model/iris`, which starts `model_serving_pipeline`. Only the URIs of the snapshot
and of the runs travel between the tasks.

## Triage
- `feature_engineering` red: the source was not reached, or its rows break the catalog's checks.
- `train_rf`, `train_gb` red: the estimator failed, or MLflow was not reached. Safe to clear.
- `select_best_model` skipped: nothing is broken; the better one of the two was not better than the champion.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, dag, task, timezone
from airflow.sdk.exceptions import AirflowSkipException
from notices import tell_success
from task_defaults import FITS, HERE, make_task_defaults

DATASET = "iris"


@dag(
    schedule=timedelta(days=1),
    start_date=timezone.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    tags=["ml", "training"],
    doc_md=__doc__,
    on_success_callback=tell_success(),
    default_args=make_task_defaults(),
)
def model_training_selection() -> None:
    @task
    def feature_engineering() -> str:
        from ml_code.data import snapshots
        from ml_code.workspace import open_workspace

        return snapshots.prepare(open_workspace(), DATASET)

    @task(**FITS)
    def train(estimator: str, snapshot_uri: str, ti: Any = None) -> str:
        from ml_code.gate import judging
        from ml_code.training import plans, run
        from ml_code.workspace import open_workspace

        workspace = open_workspace()
        origin = plans.RunOrigin(ti.dag_id, ti.run_id, ti.task_id)
        mlflow_run_id = run.train(workspace, DATASET, snapshot_uri, "sklearn", estimator, origin=origin)
        judging.evaluate(workspace, mlflow_run_id)
        return f"runs:/{mlflow_run_id}"

    @task(outlets=[Asset(f"model/{DATASET}")], **HERE)
    def select_best_model(run_uris: list[str]) -> str:
        from ml_code.errors import HeldBackError
        from ml_code.gate import selection
        from ml_code.workspace import open_workspace

        workspace = open_workspace()
        best = selection.choose_best(workspace, run_uris)
        try:
            version = selection.register_for_rollout(workspace, best.removeprefix(selection.RUN_SCHEME))
        except HeldBackError as error:
            raise AirflowSkipException(str(error)) from error
        return f"models:/{DATASET}/{version}"

    snapshot_uri = feature_engineering()
    forest = train.override(task_id="train_rf")("random_forest", snapshot_uri)
    boosting = train.override(task_id="train_gb")("gradient_boosting", snapshot_uri)
    select_best_model([forest, boosting])


model_training_selection()
