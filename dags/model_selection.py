"""Makes the waiting version the champion if it is strictly better, and keeps the champion otherwise.

**What it does**: `compare` finds the newest version of the registered model `iris`. If it waits (`gate=pending`, as
`simple_train` registers it), `compare` evaluates it and the champion on the same holdout. A strictly better version
goes on to `update_model`, where the gate decides. Otherwise `keep_model` logs the reason.

**What starts it**: the asset `waiting-model/iris`, which `simple_train` emits; or a person. While it is paused it
misses the asset. The next one, or a run by hand, finds the version nevertheless.

**What it writes**: the gate's decision as tags of the version; for a pass the asset `model/iris`, which starts
`model_serving_pipeline`. It moves no alias itself.

## Triage
- `compare` red: MLflow or the object store was not reached. Safe to clear.
- `keep_model` green: nothing is broken. No version waits, it is not better, or the dataset's file was corrected since
  its training. Its log says which.
- `update_model` skipped though `compare` chose it: the version is better, but by less than the gate demands. Its log
  says so.
"""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import Asset, dag, task, timezone
from airflow.sdk.exceptions import AirflowSkipException
from notices import tell_success
from task_defaults import HERE, make_task_defaults

MODEL = "iris"

log = logging.getLogger(__name__)


@dag(
    schedule=Asset(f"waiting-model/{MODEL}"),
    start_date=timezone.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    tags=["ml", "selection"],
    doc_md=__doc__,
    on_success_callback=tell_success(),
    default_args=make_task_defaults() | HERE,
)
def model_selection() -> None:
    @task.branch
    def compare(ti: Any = None) -> str:
        from ml_code.gate import selection
        from ml_code.workspace import open_workspace

        choice = selection.compare_pending(open_workspace(), MODEL)
        ti.xcom_push("version", choice.version)
        ti.xcom_push("reason", choice.reason)
        return "update_model" if choice.is_better else "keep_model"

    @task(outlets=[Asset(f"model/{MODEL}")])
    def update_model(ti: Any = None) -> str:
        from ml_code.errors import HeldBackError
        from ml_code.gate import selection
        from ml_code.workspace import open_workspace

        version = ti.xcom_pull(task_ids="compare", key="version")
        try:
            return selection.judge_pending(open_workspace(), MODEL, version)
        except HeldBackError as error:
            raise AirflowSkipException(str(error)) from error

    @task
    def keep_model(ti: Any = None) -> None:
        log.info("%s", ti.xcom_pull(task_ids="compare", key="reason"))

    compare() >> [update_model(), keep_model()]


model_selection()
