"""Three tasks in a chain: each passes its return value to the next.

**What it teaches**: `@task` turns a function into a task. Calling it inside the DAG runs nothing yet; it draws an edge.
A return value travels through Airflow's database, so keep it small: ids and addresses, never tables.

**What starts it**: you, by the Trigger button.

## Triage
- A red task: its code was changed; the end of its log names the line.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import dag, task, timezone


@dag(
    schedule=None, start_date=timezone.datetime(2026, 1, 1), catchup=False, max_active_runs=1, tags=["example"],
    doc_md=__doc__, default_args={"execution_timeout": timedelta(minutes=5)},
)  # fmt: skip
def basic_dag_example() -> None:
    @task
    def extract() -> list[float]:
        return [21.5, 19.0, 27.0]

    @task
    def transform(celsius: list[float]) -> float:
        return sum(celsius) / len(celsius)

    @task
    def load(mean: float) -> str:
        return f"the mean is {mean} degrees"

    load(transform(extract()))


basic_dag_example()
