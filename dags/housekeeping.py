"""Deletes what is too old or takes too much room, and nothing that serves or may have to serve again.

**What it does**: `show_plan` logs what each rule would delete, and its sizes. Then `delete_old` deletes that, one task
per rule. The rules with their limits in `.env` are a table in `docs/operations.md`. The first run of a stack is dry: it
shows and deletes nothing, and so does a run by hand with `dry_run`.

A version with an alias, its file and the snapshot of its training are looked up a second time before each deletion. A
rule that would delete one of them is refused, and nothing is deleted. Nothing younger than `BACKUP_DAYS` goes either,
except logs. A clock that jumps ahead makes little too old: a run reckons with a time at most two days after that of the
run before.

**What starts it**: every night at 4:30, and by hand.

**Whom it tells**: a person, if the disk of the volumes is 80 % full.

**What it writes**: a row of `warehouse.housekeeping` with the plan of each run.

## Triage
- `show_plan` red with `HousekeepingError`: a rule would delete what serves. Nothing was deleted. This is an error in
  the product's code: its message names the rule.
- `show_plan` red with another error: the store, MLflow or the warehouse was not reached. Safe to clear.
- `delete_old` skipped: nothing is too old, the run is dry, or a backup is under way. The next night goes on.
- `delete_old` red: the store, MLflow or the warehouse was not reached. Other rules were carried out. Safe to clear.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, dag, get_current_context, task, timezone
from airflow.sdk.exceptions import AirflowSkipException
from notices import tell_person
from task_defaults import HERE, make_task_defaults


@dag(
    schedule="30 4 * * *",
    start_date=timezone.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["ml", "monitoring"],
    doc_md=__doc__,
    default_args=make_task_defaults("ml_code.errors.HousekeepingError") | HERE,
    params={"dry_run": Param(False, type="boolean", description="Show what would be deleted, and delete nothing")},
)
def housekeeping() -> None:
    @task
    def show_plan(params: dict[str, Any], run_id: str) -> list[str]:
        from ml_code.housekeeping import cleaning
        from ml_code.workspace import open_workspace

        workspace = open_workspace()
        if notice := cleaning.find_full_disk(workspace):
            tell_person(notice)
        return cleaning.plan(workspace, run_id, timezone.utcnow(), is_dry=params["dry_run"])

    @task(map_index_template="{{ label }}")
    def delete_old(rule: str, run_id: str) -> None:
        from ml_code.housekeeping import cleaning
        from ml_code.workspace import open_workspace

        done = cleaning.delete(open_workspace(), run_id, rule)
        if done is None:
            raise AirflowSkipException("another deletion or a backup is under way")
        get_current_context()["label"] = done.describe()

    delete_old.expand(rule=show_plan())


housekeeping()
