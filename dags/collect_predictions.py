"""Moves the predictions that the replicas have logged into the object store, each row exactly once.

**What it does**: `collect` takes the closed segments from the volume `prediction-log` and writes them as Parquet, one
object for each model, schema and hour. `prune` deletes the hours that are older than `PREDICTION_LOG_DAYS`, and the
oldest ones while the log is larger than `PREDICTION_LOG_GB`. What was set aside goes after the same days, or beyond a
tenth of that size. Then `collect_feedback` brings labels to their predictions.

**What starts it**: every ten minutes. Two collections never run at once.

**What it writes**: `log/model=.../schema=.../date=.../hour=.../` in the bucket `predictions`, a row per collection in
`warehouse.prediction_collection`, and one per model in `warehouse.prediction_batch`. These rows say up to when the log
is complete. Live quality and drift judge no later window.

## Triage
- `collect` red with `StorageError` or `WarehouseError`: the store or Postgres was not reached. Safe to clear. The
  segments stay on the volume, the next collection ends what this one began, and no row is stored twice. While it stays
  red, the replicas log up to 2 GB. Then they drop rows and count them.
- `collect` red with `OSError`: the volume is full or cannot be written. Free space on the disk of Docker's volumes.
- `collect` skipped: another collection holds the lock, or this service has no `MLOPS_PREDICTION_LOG_DIR`. Its log says
  which one.
- The log counts unreadable lines: they lie in `unreadable/` of the volume. A newer replica writes a newer format.
  Update the Airflow services: their next collection takes the file.
- The log counts dropped rows: a replica's disk was too slow or full. Its `/metrics` tells the reason.
- `collect_feedback` red: as `collect`. Safe to clear; no label is lost, or counted twice.
- `prune` red: the store was not reached. Safe to clear, and the next run deletes the same hours. Labels wait meanwhile.
"""

from __future__ import annotations

from airflow.sdk import dag, task, timezone
from airflow.sdk.exceptions import AirflowSkipException
from task_defaults import HERE, make_task_defaults


@dag(
    schedule="*/10 * * * *",
    start_date=timezone.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["ml", "monitoring"],
    doc_md=__doc__,
    default_args=make_task_defaults() | HERE,
)
def collect_predictions() -> None:
    @task
    def collect() -> None:
        from ml_code.monitoring.prediction_log.collection import collect as collect_segments
        from ml_code.workspace import open_workspace

        workspace = open_workspace()
        if workspace.settings.prediction_log_dir is None:
            raise AirflowSkipException("no prediction log here: MLOPS_PREDICTION_LOG_DIR is not set")
        if collect_segments(workspace) is None:
            raise AirflowSkipException("another collection is under way")

    @task
    def prune() -> None:
        from ml_code.monitoring.prediction_log import retention
        from ml_code.workspace import open_workspace

        retention.prune(open_workspace())

    @task
    def collect_feedback() -> None:
        from ml_code.monitoring.feedback.collection import collect_labels
        from ml_code.workspace import open_workspace

        if collect_labels(open_workspace()) is None:
            raise AirflowSkipException("another collection of labels is under way")

    # Not side by side: labels would miss hours that go while they are read.
    collect() >> prune() >> collect_feedback()


collect_predictions()
