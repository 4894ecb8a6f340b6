"""Loads a CSV file of employees into the warehouse: each content once, and all valid rows or none.

**What it does**: finds the file, checks its header, copies its rows into a staging table and merges them by
`employee_id` in one transaction. Invalid rows go to a report in quarantine, with line, column and reason. If more than
10 % of the rows are invalid, the load stops and changes nothing.

**What starts it**: midnight; or a person, with the file's key in the bucket `datasets` or its `s3://bucket/key`.
Without a file it loads the sample that ships. It reads no other bucket and no other folder of the worker than those of
`INPUT_URIS` and `MLOPS_DATASETS_DIR`.

**What it writes**: `warehouse.employees`, `warehouse.loaded_file`, and `quarantine/employees/` in the datasets' bucket.
It emits the assets `csv_data_asset` (address and hash of the file) and `employee_data_asset` (rows that changed).

## Triage
- `extract` red: the address lies outside of the permitted places, the file was not found, or it has other columns. The
  log names what was found and expected.
- `load` red with `DataCheckError`: too many rows are invalid. The log names the report. Fix the file and start again.
- `load` red with `WarehouseError`: Postgres was not reached, or the connection broke. Safe to clear: the transaction
  loaded nothing.
- `load` skipped: the same content was loaded before, under this or another name. Nothing is broken, nothing is emitted.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Asset, Param, dag, task, timezone
from airflow.sdk.exceptions import AirflowSkipException
from notices import tell_success
from task_defaults import make_task_defaults

CSV_DATA = Asset("csv_data_asset")
EMPLOYEE_DATA = Asset("employee_data_asset")


@dag(
    schedule="0 0 * * *",
    start_date=timezone.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    tags=["etl"],
    doc_md=__doc__,
    on_success_callback=tell_success(),
    default_args=make_task_defaults("ml_code.errors.SourceError"),
    params={
        "path": Param("", type="string", description="Key of the bucket datasets, or s3://bucket/key; empty: sample")
    },
)
def etl_example() -> None:
    @task(outlets=[CSV_DATA])
    def extract(params: dict[str, Any], outlet_events: Any = None) -> str:
        from ml_code.etl import employees
        from ml_code.workspace import open_workspace

        file = employees.find_file(open_workspace(), params["path"])
        outlet_events[CSV_DATA].extra = {"uri": file.uri, "sha256": file.sha256}
        return file.uri

    @task(inlets=[CSV_DATA], outlets=[EMPLOYEE_DATA])
    def load(uri: str, outlet_events: Any = None) -> None:
        from ml_code.etl import employees
        from ml_code.workspace import open_workspace

        report = employees.load_employees(open_workspace(), uri)
        print(report.describe())  # noqa: T201  a task's prints are its log
        if report.is_already_loaded:
            raise AirflowSkipException("already loaded")
        outlet_events[EMPLOYEE_DATA].extra = {"uri": uri, "rows": report.rows_changed}

    load(extract())


etl_example()
