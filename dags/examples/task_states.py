"""One run with the states that a task ends in and passes through; docs/task-states.md explains them all.

The run ends **failed, by design**, after about half a minute. Each task is named after the state that it shows; the
tasks named `passes_...` end in success. You start it by the Trigger button and watch the grid.

## Triage
- The run, `ends_failed` and `ends_upstream_failed` red: as it should be.
- `passes_deferred` stays deferred: the triggerer is down. Another task red: the end of its log gives the reason.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.sensors.bash import BashSensor
from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import dag, timezone

SECOND_TRY = "test {{ ti.try_number }} -gt 1"
SECOND_LOOK = "test {{ task_reschedule_count }} -gt 0"
SOON = "{{ ti.start_date + macros.timedelta(seconds=10) }}"


@dag(
    schedule=None, start_date=timezone.datetime(2026, 1, 1), catchup=False, max_active_runs=1, tags=["example"],
    doc_md=__doc__, default_args={"execution_timeout": timedelta(minutes=5)},
)  # fmt: skip
def task_states() -> None:
    BashOperator(task_id="ends_success", bash_command="exit 0")
    BashOperator(task_id="ends_skipped", bash_command="exit 99")
    failed = BashOperator(task_id="ends_failed", bash_command="exit 1", retries=0)
    failed >> EmptyOperator(task_id="ends_upstream_failed")
    BashOperator(task_id="passes_up_for_retry", bash_command=SECOND_TRY, retries=1, retry_delay=5)
    BashSensor(task_id="passes_up_for_reschedule", bash_command=SECOND_LOOK, mode="reschedule", poke_interval=5)
    DateTimeSensorAsync(task_id="passes_deferred", target_time=SOON)


task_states()
