"""Validates the CSV files that land in MinIO, and emits the asset of each dataset that gained rows.

**What it does**: three DAGs.
- `minio_producer` puts a synthetic file into `incoming/iris/` every day, as an example for the other two.
- `minio_asset_example` processes files as they land.
- `minio_reconcile` processes the files that are left because the consumer was paused or its run failed.

**What starts it**:
- `minio_asset_example`: the asset `incoming`. The triggerer lists `incoming/` in the bucket `datasets` every
  `INCOMING_POLL_SECONDS` and emits an event for new objects. A run by hand processes all waiting files.
- `minio_reconcile`: every hour. `minio_producer`: every day, once it is unpaused.

**What it writes**: the valid rows of each file to `clean/<dataset>/`, the invalid ones to `quarantine/`, and the file
itself to `processed/` or `rejected/`. It emits the asset `dataset/<name>`, which starts `mlops_training_pipeline`.

## Triage
- `minio_producer` red: the object store was not reached. Safe to clear: the same run writes the same file.
- `choose_files`, `list_waiting` red: the object store was not reached. Nothing was moved; safe to clear.
- `accept` red: a folder under `incoming/` names no dataset of the catalog, or the object store was not reached.
  Nothing was moved. Rename the folder or add the dataset; then `minio_reconcile` processes the files.
- `publish` skipped: no new file was accepted, so there is nothing to train on.
- `file_away` red: a file was rejected and lies under `rejected/`. The log gives the reason for each file. Correct it
  and upload it again. The accepted files of the run have been published.
- No run although a file landed: `docker compose logs airflow-triggerer` names what the watcher cannot reach.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import (
    Asset,
    AssetAlias,
    AssetWatcher,
    Param,
    asset,
    dag,
    get_current_context,
    task,
    task_group,
    timezone,
)
from airflow.sdk.exceptions import AirflowSkipException
from notices import tell_success
from s3_objects import S3ObjectsTrigger
from task_defaults import make_task_defaults

from ml_code.places import INCOMING as INCOMING_KEYS

START = timezone.datetime(2026, 1, 1)
INCOMING = Asset(
    "incoming",
    watchers=[AssetWatcher(name="incoming-files", trigger=S3ObjectsTrigger(bucket="datasets", prefix=INCOMING_KEYS))],
)
CLEAN_DATASET = AssetAlias("clean-dataset")


@asset(schedule="@daily", is_paused_upon_creation=True, tags=["data", "minio"])
@task(**make_task_defaults(), doc_md=__doc__)
def minio_producer(dag_run: Any = None) -> str:
    from ml_code.data import intake
    from ml_code.workspace import open_workspace

    return intake.produce_sample(open_workspace(), dag_run.run_id)


@task(map_index_template="{{ label }}")
def accept(batch: dict[str, Any]) -> dict[str, Any]:
    from ml_code.data import intake
    from ml_code.workspace import open_workspace

    report = intake.accept(open_workspace(), batch)
    get_current_context()["label"] = intake.describe(report)
    return report


@task(outlets=[CLEAN_DATASET])
def publish(report: dict[str, Any], outlet_events: Any = None) -> None:
    if not report["accepted"]:
        raise AirflowSkipException(f"{report['dataset']}: no file was accepted, so nothing is new")
    extra = {"files": len(report["accepted"]), "rows": report["rows"]}
    outlet_events[CLEAN_DATASET].add(Asset(f"dataset/{report['dataset']}"), extra=extra)


# Last, because it fails for a rejected file, and the accepted ones must be published before that.
@task(trigger_rule="none_failed")
def file_away(report: dict[str, Any]) -> None:
    from ml_code.data import intake
    from ml_code.workspace import open_workspace

    intake.file_away(open_workspace(), report)


@task_group
def take_in(batch: dict[str, Any]) -> None:
    report = accept(batch)
    publish(report) >> file_away(report)


@dag(
    schedule=INCOMING,
    start_date=START,
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["data", "minio"],
    doc_md=__doc__,
    default_args=make_task_defaults(),
    on_success_callback=tell_success(),
)
def minio_asset_example() -> None:
    @task
    def choose_files(triggering_asset_events: Any = None) -> list[dict[str, Any]]:
        from ml_code.data import intake
        from ml_code.workspace import open_workspace

        # A run may have many events, and an event that a person created has no keys.
        events = [event for found in (triggering_asset_events or {}).values() for event in found]
        keys = [key for event in events for key in event.extra.get("payload", {}).get("keys", [])]
        return intake.plan_batches(intake.choose_files(open_workspace(), keys))

    take_in.expand(batch=choose_files())


@dag(
    schedule="@hourly",
    start_date=START,
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["data", "minio"],
    doc_md=__doc__,
    default_args=make_task_defaults(),
    params={
        "min_age_minutes": Param(10, type="number", minimum=0, description="Younger files are left to their events"),
    },
)
def minio_reconcile() -> None:
    @task
    def list_waiting(params: dict[str, Any]) -> list[dict[str, Any]]:
        from ml_code.data import intake
        from ml_code.workspace import open_workspace

        return intake.plan_batches(intake.list_waiting(open_workspace(), params["min_age_minutes"]))

    take_in.expand(batch=list_waiting())


minio_asset_example()
minio_reconcile()
