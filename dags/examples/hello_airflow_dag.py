"""One task for each word of a sentence, made in a loop and run one after the other.

**What it teaches**: a DAG file is Python, so a loop can make tasks. Each task needs a unique id. `chain` orders them
although no value travels between them.

**What starts it**: a `timedelta`, once a day after you unpause it. Of the missed days it runs only the last
(`catchup=False`).

## Triage
- `print_world_<i>` red: its code was changed; the end of its log names the line.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from airflow.sdk import chain, dag, task, timezone

START = timezone.datetime(2026, 1, 1)
LIMIT = {"execution_timeout": timedelta(minutes=5)}
SENTENCE = "hello airflow from the mlops loop"


@dag(
    schedule=timedelta(days=1), start_date=START, catchup=False, max_active_runs=1, tags=["example"], doc_md=__doc__,
    default_args=LIMIT,
)  # fmt: skip
def hello_airflow_dag() -> None:
    @task
    def print_world(word: str) -> None:
        logging.getLogger(__name__).info(word)

    chain(*[print_world.override(task_id=f"print_world_{i}")(word) for i, word in enumerate(SENTENCE.split())])


hello_airflow_dag()
