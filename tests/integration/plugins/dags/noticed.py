"""Two DAGs that tell how they ended: one fails in its only task, one does not."""

from __future__ import annotations

import pendulum
from airflow.sdk import dag, task
from notices import tell_failure, tell_success

START = pendulum.datetime(2026, 1, 1)
FAILURE = {"on_failure_callback": tell_failure()}


@dag(schedule=None, start_date=START, default_args=FAILURE, on_success_callback=tell_success())
def noticed_failure() -> None:
    @task
    def divide() -> float:
        raise ValueError("3 < 5 & {{ ti }} of *iris*\nsecond line")

    divide()


@dag(schedule=None, start_date=START, default_args=FAILURE, on_success_callback=tell_success())
def noticed_success() -> None:
    @task
    def add() -> int:
        return 1

    add()


noticed_failure()
noticed_success()
