"""Trains a random forest on iris every night and registers it without an alias: it does not serve yet.

**What it does**: takes a snapshot, trains, evaluates, and registers the model as a version that waits (`gate=pending`).
Then it emits an asset, by which `model_selection` decides whether the version becomes the champion.

**What starts it**: half past midnight, or a person.

**What it writes**: an MLflow run in the experiment `iris`, a version of the registered model `iris`, and the
asset `waiting-model/iris`.

## Triage
- `train` red: the source, MLflow or the store was not reached, or the rows break the catalog's checks. The log says
  which, and Slack has a notice. Safe to clear: the task finds the same run and makes no second version.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Asset, dag, task, timezone
from task_defaults import FITS, make_task_defaults

DATASET = "iris"


@dag(
    schedule="30 0 * * *",
    start_date=timezone.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    tags=["ml", "training"],
    doc_md=__doc__,
    default_args=make_task_defaults(),
)
def simple_train() -> None:
    @task(outlets=[Asset(f"waiting-model/{DATASET}")], **FITS)
    def train(ti: Any = None) -> str:
        from ml_code.data import snapshots
        from ml_code.gate import judging
        from ml_code.training import plans, run
        from ml_code.workspace import open_workspace

        workspace = open_workspace()
        origin = plans.RunOrigin(ti.dag_id, ti.run_id, ti.task_id)
        snapshot_uri = snapshots.prepare(workspace, DATASET)
        mlflow_run_id = run.train(workspace, DATASET, snapshot_uri, "sklearn", "random_forest", origin=origin)
        judging.evaluate(workspace, mlflow_run_id)
        return judging.register(workspace, mlflow_run_id, is_judged=False)

    train()


simple_train()
