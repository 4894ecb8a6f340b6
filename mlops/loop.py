"""Once round the loop of a running stack through Airflow's API: start a run, follow it, request a prediction."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx

from mlops.airflow_api import ENDED, AirflowApi, TaskState
from mlops.errors import NoAnswerError, RunError

TRAIN = "mlops_training_pipeline"
SERVE = "model_serving_pipeline"
RUN_SECONDS = 1800

CLOCK_DIFFERENCE = timedelta(hours=1)
"""Most by which the clocks of Airflow and of this machine may differ."""

ROW = [[5.1, 3.5, 1.4, 0.2]]

Say = Callable[[str, TaskState], None]
"""Receives a DAG's id and one of its tasks that has ended."""

Check = Callable[[], None]
"""Raises an error if the stack is known to be broken."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """An answer of /predict."""

    url: str
    version: str
    body: Any


def follow(api: AirflowApi, dag_id: str, run_id: str, say: Say, check: Check = lambda: None) -> None:
    """Reports each task that ends, until the run ends.

    Raises:
        RunError: the run failed, or takes too long.
    """
    told: set[str] = set()

    def has_ended() -> str | None:
        state = api.read_run_state(dag_id, run_id)
        for task in api.list_tasks(dag_id, run_id):
            if task.state in ENDED and task.name not in told:
                told.add(task.name)
                say(dag_id, task)
        return state if state in ENDED else None

    if wait_for(has_ended, f"{dag_id} to end", check=check) != "success":
        failed = ", ".join(task.name for task in api.list_tasks(dag_id, run_id) if task.state == "failed")
        raise RunError(
            f"{dag_id}: expected its run to succeed, found failed tasks: {failed}; "
            "Airflow has their logs (`mlops local up` starts it)"
        )


def wait_for[Found](
    probe: Callable[[], Found | None], what: str, seconds: float = RUN_SECONDS, check: Check = lambda: None
) -> Found:
    """Calls a probe every two seconds until it returns a value, even while a server does not answer.

    Args:
        probe: returns a value, or nothing yet.
        what: describes the expected value, for the error.
        seconds: longest wait.
        check: called when a server does not answer; raises an error to end the wait.

    Raises:
        RunError: the probe returned no value in time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if found := probe():
                return found
        except NoAnswerError:
            check()
        time.sleep(2)
    raise RunError(f"expected {what} within {seconds:.0f} s, waited in vain; look at Airflow")


def find_version(url: str) -> str | None:
    """The version of the default model that serves; None while none serves.

    Raises:
        NoAnswerError: no server answers at the address.
    """
    answer = _ask(url)
    return answer.headers.get("X-Model-Version") if answer.is_success else None


def predict(url: str) -> Prediction:
    """Sends the row of the README.

    Raises:
        NoAnswerError: no server answers at the address.
        RunError: the answer is not a prediction.
    """
    answer = _ask(url)
    if not answer.is_success:
        raise RunError(f"{url}/predict: expected an answer, found {answer.status_code}: {answer.text}")
    return Prediction(url, answer.headers["X-Model-Version"], answer.json())


def _ask(url: str) -> httpx.Response:
    try:
        return httpx.post(f"{url}/predict", json=ROW, timeout=30)
    except httpx.TransportError as error:
        raise NoAnswerError(
            f"{url}: expected an answer, found none: {error}; `mlops local status` lists what runs"
        ) from error
