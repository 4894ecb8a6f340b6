"""Shell commands as tasks: templates, retries, and a task that does nothing.

**What it teaches**: `{{ }}` is filled in when the task runs. Pass a person's input by `env`, where the shell reads it
as text; inside the command it could run anything. Exit code 0 makes the task green and 99 makes it skipped. Any other
code starts a retry, here at most twice. An empty task costs nothing and joins many edges.

**What starts it**: you, by the Trigger button; the form has a field for a name.

## Triage
- `greet` or `show_run` red: the command failed three times; its log shows what it printed.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import Param, dag, timezone

START = timezone.datetime(2026, 1, 1)
RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=5), "execution_timeout": timedelta(minutes=5)}
FORM = {"name": Param("world", type="string", description="Name to greet")}


@dag(
    schedule=None, start_date=START, catchup=False, max_active_runs=1, tags=["example"], doc_md=__doc__,
    default_args=RETRIES, params=FORM,
)  # fmt: skip
def dags_bash_operator() -> None:
    greet = BashOperator(task_id="greet", bash_command='echo "Hello, $NAME"', env={"NAME": "{{ params.name }}"})
    show_run = BashOperator(task_id="show_run", bash_command="echo '{{ dag.dag_id }}, try {{ ti.try_number }}'")
    EmptyOperator(task_id="start") >> [greet, show_run] >> EmptyOperator(task_id="end")


dags_bash_operator()
