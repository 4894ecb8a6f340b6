"""Collects the KMA's forecast of the next six hours, every hour.

**What it does**: `collect` requests the newest ultra-short-term forecast (`getUltraSrtFcst`) of one place from the
Korea Meteorological Administration, and stores the response unchanged. The place is Seoul unless you choose another.
`preprocess_and_save` turns the response into numbers with units. An older issue never replaces a newer one.

**What starts it**:
- the clock, at ten to every hour. An issue is of half past and available from a quarter to;
- by hand, with a form (`nx`, `ny`: the cell of the KMA's grid).

The issue follows from when the run was due, not from when a task ran. So a retry requests the same issue.
The DAG needs a free key and is paused until you unpause it. Get a key at
https://www.data.go.kr/data/15084084/openapi.do, set `KMA_SERVICE_KEY` in `.env`, and run `make up`.

**What it writes**:
- `warehouse.weather_forecast`: one row per place, forecast time and category;
- `weather/raw/<issue>_<place>.json` in the bucket of the datasets: the response, unchanged;
- `weather/<place>.csv` there: all forecasts of the place, one line per hour.

A forecast that is stored already changes nothing, and the log says so.

## Triage
- `collect` waits for a retry: the issue is late or the API is down. It retries six times, every 5 minutes or when the
  API said to. Red after that: this issue is lost, and the next run collects the next one. Nothing to do.
- `collect` red at once: the key is missing or refused, or the day's requests are used up. The log says which, and what
  to do.
- `preprocess_and_save` red: the warehouse or the object store was not reached, or the KMA changed how it writes a
  value. The raw response is kept: fix the cause and clear this task.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import notices
import pendulum
from airflow.sdk import ExceptionRetryPolicy, Param, RetryAction, RetryRule, dag, task
from airflow.sdk.definitions.retry_policy import RetryDecision

# Errors that a retry five minutes later would meet again.
FINAL_ERRORS = [
    "ml_code.errors.SettingsError",
    "ml_code.etl.weather_errors.WeatherKeyError",
    "ml_code.etl.weather_errors.WeatherQuotaError",
    "ml_code.etl.weather_errors.WeatherRequestError",
    "ml_code.etl.weather_errors.WeatherValueError",
]
LONGEST_WAIT = timedelta(hours=6)


class WaitAsAsked(ExceptionRetryPolicy):
    """Retries when the API's header Retry-After says to, otherwise by the rules."""

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any = None) -> RetryDecision:
        """Decides whether a failed try is retried, in the task's process."""
        decision = super().evaluate(exception, try_number, max_tries, context)
        asked_seconds = getattr(exception, "retry_after_seconds", None)
        if decision.action is RetryAction.FAIL or asked_seconds is None:
            return decision
        if asked_seconds > LONGEST_WAIT.total_seconds():
            return RetryDecision.fail(f"the API asked to wait {asked_seconds:.0f} s, too long: the next run collects")
        return RetryDecision.retry(timedelta(seconds=asked_seconds), f"the API asked to wait {asked_seconds:.0f} s")


@dag(
    schedule="50 * * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="Asia/Seoul"),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
    tags=["weather", "crawling"],
    doc_md=__doc__,
    default_args={
        "retries": 6,
        "retry_delay": timedelta(minutes=5),
        "retry_policy": WaitAsAsked(rules=[RetryRule(FINAL_ERRORS, RetryAction.FAIL)]),
        "execution_timeout": timedelta(minutes=5),
        "on_failure_callback": notices.tell_failure(),
    },
    params={
        "nx": Param(60, type="integer", minimum=1, maximum=149, description="Column of the KMA's grid; Seoul: 60"),
        "ny": Param(127, type="integer", minimum=1, maximum=253, description="Row of the KMA's grid; Seoul: 127"),
    },
)
def crawling_weather() -> None:
    @task
    def collect(params: dict[str, Any], dag_run: Any = None) -> str:
        from ml_code.etl import forecasts
        from ml_code.workspace import open_workspace

        key, base_url = read_connection()
        return forecasts.collect(open_workspace(), key, base_url, params["nx"], params["ny"], now=dag_run.run_after)

    @task
    def preprocess_and_save(raw_uri: str) -> str:
        from ml_code.etl import forecasts
        from ml_code.workspace import open_workspace

        return forecasts.preprocess_and_save(open_workspace(), raw_uri).csv_uri

    preprocess_and_save(collect())


def read_connection() -> tuple[str | None, str | None]:
    """Key and address of the connection; None for both without one, which `collect` explains."""
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        connection = Connection.get("kma_api")
    except AirflowNotFoundException:
        return None, None
    return connection.password, connection.host


crawling_weather()
