"""Five ways to start a DAG, one DAG for each.

- `schedule_timedelta`: every six hours, counted from the start date.
- `schedule_cron`: on working days at 09:30, by the clock of the start date's time zone.
- `schedule_preset`: a name for a cron line; `@weekly` is `0 0 * * 0`.
- `schedule_manual`: only by the Trigger button.
- `schedule_asset`: when a task has written the asset, as `schedule_manual` does. A DAG that is paused misses it.

## Triage
- `say_why` red: its code was changed; the end of its log names the line. Green: its log says what started the run.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, task, timezone

ASSET = Asset("schedule_example")
START = timezone.datetime(2026, 1, 1)
WAYS = {"timedelta": timedelta(hours=6), "cron": "30 9 * * 1-5", "preset": "@weekly", "manual": None, "asset": ASSET}
LIMIT = {"execution_timeout": timedelta(minutes=5)}
COMMON: dict[str, Any] = {"max_active_runs": 1, "tags": ["example"], "doc_md": __doc__, "default_args": LIMIT}


@task
def say_why(dag_run: Any = None) -> None:
    logging.getLogger(__name__).info("a run of type %s, due at %s", dag_run.run_type, dag_run.run_after)


for name, schedule in WAYS.items():
    with DAG(dag_id=f"schedule_{name}", schedule=schedule, start_date=START, catchup=False, **COMMON):
        say_why.override(outlets=[ASSET] if name == "manual" else [])()
