"""Tasks that note each begin and end in the warehouse, with the pipelines' retries; copied into a stack by a test."""

from __future__ import annotations

import os
import socket
import time
from contextlib import closing
from typing import Any

import pendulum
import psycopg2
from airflow.sdk import dag, get_current_context, task
from task_defaults import FITS, HERE, make_task_defaults

KINDS: dict[str, dict[str, Any]] = {
    "default_1": {},
    "default_8": {},
    "default_40": {},
    "default_60": {},
    "rollout_1": HERE,
    "training_4": FITS,
}
"""Queue and number of the tasks, and what the product sets for such a task."""


def note(what: str, number: int) -> None:
    """Writes one row of its own transaction."""
    sql = "insert into public.e2e_marks (run, number, what, host) values (%s, %s, %s, %s)"
    row = (get_current_context()["run_id"], number, what, socket.gethostname())
    with closing(psycopg2.connect(os.environ["MLOPS_WAREHOUSE_DSN"])) as connection, connection:
        connection.cursor().execute(sql, row)


def make_dag(kind: str, options: dict[str, Any]) -> None:
    @dag(
        dag_id=f"marks_{kind}",
        schedule=None,
        start_date=pendulum.datetime(2026, 1, 1),
        catchup=False,
        params={"seconds": 10},
        default_args=make_task_defaults(),
        max_active_tasks=64,
    )
    def marks() -> None:
        @task(**options)
        def work(number: int) -> None:
            note("begin", number)
            time.sleep(get_current_context()["params"]["seconds"])
            note("end", number)

        work.expand(number=list(range(int(kind.split("_")[1]))))

    marks()


for kind, options in KINDS.items():
    make_dag(kind, options)
