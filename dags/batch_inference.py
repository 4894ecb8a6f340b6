"""Predicts with the champion for a file of rows, or for a few random rows, and writes to the bucket `predictions`.

**What it does**: `plan` pins the champion's version and cuts the input into shards. `predict` computes the predictions
of one shard per task, and of several where there are more than 1,000. `finish` writes the manifest, which marks the
batch as complete.

**What starts it**:
- every five minutes, with `sample_rows` rows of the newest version of the dataset, drawn with the run's id as seed;
- by hand, with `input_uri`: a CSV or Parquet file, or a prefix that several files share. It is a key of the bucket
  `datasets`, or `s3://bucket/key`.

**What it writes**: `predictions/<model>/<run id>/part-00000.csv` (`.parquet` for inputs over 1 MB) and `manifest.json`
beside it. Each row has the input's id, the prediction, probabilities, model, version, time and file.

## Triage
- `plan` skipped: no version of the model serves yet. Run `mlops_training_pipeline`.
- `plan` red: the file does not exist, or lies outside of `datasets`, `predictions` and the buckets of `INPUT_URIS`. The
  log names the places that were searched.
- `predict` red: a column is missing, or the model cannot read a cell. The log names file, row and column, and no part
  was written. Correct the file and trigger the DAG again; clearing the run repeats the old plan.
- Killed in between: clear the failed tasks. A repeated shard writes the same bytes.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task, timezone
from airflow.sdk.exceptions import AirflowSkipException
from task_defaults import make_task_defaults

from ml_code.datasets import load_catalog

CATALOG = load_catalog()


@dag(
    schedule=timedelta(minutes=5),
    start_date=timezone.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    tags=["ml", "batch"],
    doc_md=(__doc__ or "") + CATALOG.describe_problems(),
    default_args=make_task_defaults("ml_code.errors.SourceError"),
    params={
        "model": Param(CATALOG.choose_default(), enum=list(CATALOG.list_models()), description="Its champion predicts"),
        "input_uri": Param("", type="string", description="CSV or Parquet key or prefix; empty: rows at random"),
        "sample_rows": Param(5, type="integer", minimum=1, maximum=10_000, description="Without an input_uri"),
    },
)
def batch_inference() -> None:
    @task
    def plan(params: dict[str, Any], dag_run: Any = None) -> list[list[dict[str, Any]]]:
        from ml_code.batch import shards
        from ml_code.errors import NoChampionError
        from ml_code.workspace import open_workspace

        try:
            planned = shards.plan_batch(
                open_workspace(),
                params["model"],
                dag_run.run_id,
                dag_run.run_after,
                params["input_uri"],
                sample_rows=params["sample_rows"],
            )
        except NoChampionError as error:
            raise AirflowSkipException(str(error)) from error
        return [[asdict(shard) for shard in of_task] for of_task in shards.share_out(planned)]

    @task(map_index_template="{{ label }}")
    def predict(of_task: list[dict[str, Any]]) -> list[dict[str, Any]]:
        from ml_code.batch import shards
        from ml_code.workspace import open_workspace

        parts = shards.predict_shards(open_workspace(), [shards.Shard(**shard) for shard in of_task])
        get_current_context()["label"] = f"{sum(part.rows for part in parts)} rows"
        return [asdict(part) for part in parts]

    @task
    def finish(planned: list[list[dict[str, Any]]], parts: list[list[dict[str, Any]]]) -> str:
        from ml_code.batch import shards
        from ml_code.workspace import open_workspace

        expected = [shards.Shard(**shard) for of_task in planned for shard in of_task]
        return shards.finish_batch(
            open_workspace(), expected, [shards.Part(**part) for of_task in parts for part in of_task]
        )

    planned = plan()
    finish(planned, predict.expand(of_task=planned))


batch_inference()
