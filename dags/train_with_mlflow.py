"""Trains the model IrisModel and, if the gate passes it, starts its rollout: MLflow in two tasks.

**What it does**: `run_training` takes a snapshot of iris, trains, exports and evaluates, all in one run of the
experiment `iris_experiment`. In `promote_model_to_production` the gate compares the model with the champion of
IrisModel. If it passed, the task registers it.

**What starts it**: by hand, with a form (model type, estimator, hyperparameters).

**What it writes**: a run in `iris_experiment`, and for a pass a version of the registered model `IrisModel` and the
asset `model/IrisModel`, which starts `model_serving_pipeline`. After that `/models/IrisModel/predict` answers. Set
`DEFAULT_MODEL=IrisModel` in `.env` to serve it at `/predict` too.

## Triage
- `run_training` red: a hyperparameter is unknown (the log lists the known ones), or MLflow or the store was not
  reached.
- `promote_model_to_production` skipped: nothing is broken. The gate rejected the model, or a person has to approve it.
  The log says why.
- Green, and `/models/IrisModel/predict` answers 404: look at the newest run of `model_serving_pipeline`.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Asset, Param, dag, task, timezone
from airflow.sdk.exceptions import AirflowSkipException
from notices import tell_success
from task_defaults import FITS, HERE, make_task_defaults

from ml_code.families import ESTIMATORS, MODEL_TYPES
from ml_code.ways import WAYS

DATASET = "iris"
MODEL = "IrisModel"
EXPERIMENT = "iris_experiment"


@dag(
    schedule=None,
    start_date=timezone.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["ml", "mlflow"],
    doc_md=__doc__,
    on_success_callback=tell_success(),
    default_args=make_task_defaults(),
    params={
        "model_type": Param(MODEL_TYPES[0], enum=list(MODEL_TYPES), description="Library"),
        "estimator": Param(None, enum=[None, *ESTIMATORS], description="For sklearn only; empty: random_forest"),
        "hyperparameters": Param({}, type=["object", "null"], description='Such as {"n_estimators": 200}'),
        "fit": Param("auto", enum=list(WAYS), description="Where the rows lie during the fit; external: on a disk"),
    },
)
def train_with_mlflow() -> None:
    @task(**FITS)
    def run_training(params: dict[str, Any], ti: Any = None) -> str:
        from ml_code.data import snapshots
        from ml_code.gate import judging
        from ml_code.training import plans, run
        from ml_code.workspace import open_workspace

        workspace = open_workspace()
        plan = plans.plan_training({"dataset": DATASET, **params})
        mlflow_run_id = run.train(
            workspace,
            snapshot_uri=snapshots.prepare(workspace, DATASET),
            model=MODEL,
            experiment=EXPERIMENT,
            origin=plans.RunOrigin(ti.dag_id, ti.run_id, ti.task_id),
            **plans.training_arguments(plan),
        )
        judging.evaluate(workspace, mlflow_run_id)
        return mlflow_run_id

    @task(outlets=[Asset(f"model/{MODEL}")], **HERE)
    def promote_model_to_production(mlflow_run_id: str) -> str:
        from ml_code.errors import HeldBackError
        from ml_code.gate import selection
        from ml_code.workspace import open_workspace

        try:
            version = selection.register_for_rollout(open_workspace(), mlflow_run_id)
        except HeldBackError as error:
            raise AirflowSkipException(str(error)) from error
        return f"models:/{MODEL}/{version}"

    promote_model_to_production(run_training())


train_with_mlflow()
