"""Airflow's REST API, as a person with a browser or a script has it."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import httpx

from tests.e2e.stack import Stack
from tests.waiting import wait_until

TRAIN = "mlops_training_pipeline"
SERVE = "model_serving_pipeline"
RESTART_SECONDS = 90
POLL_SECONDS = 0.5
QUIET_SECONDS = 5
READING_SECONDS = 3


class Airflow:
    """Airflow's REST API, logged in as the admin."""

    def __init__(self, stack: Stack) -> None:
        base = f"http://127.0.0.1:{stack.port('AIRFLOW_PORT')}"
        self.login = {
            "username": stack.environment["AIRFLOW_ADMIN_USERNAME"],
            "password": stack.environment["AIRFLOW_ADMIN_PASSWORD"],
        }
        token = httpx.post(f"{base}/auth/token", json=self.login, timeout=60)
        assert token.status_code == 201, token.text
        headers = {"Authorization": f"Bearer {token.json()['access_token']}"}
        self.client = httpx.Client(base_url=f"{base}/api/v2", headers=headers, timeout=60)

    def close(self) -> None:
        """Closes the connections."""
        self.client.close()

    def get(self, path: str, **query: str | int) -> dict:
        """Reads one resource; asks again for a while: it answers 500 or late while its database restarts or is busy."""
        answer = wait_until(lambda: self._ask(path, query), RESTART_SECONDS, f"{path}: an answer, not 500", 1)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def _ask(self, path: str, query: dict[str, str | int]) -> httpx.Response | None:
        try:
            answer = self.client.get(path, params=query)
        except httpx.TransportError:
            return None
        return None if answer.is_server_error else answer

    def trigger(self, dag_id: str, **conf: object) -> str:
        """Starts a run by hand and returns its id."""
        answer = self.client.post(f"/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf})
        assert answer.status_code == 200, answer.text
        return answer.json()["dag_run_id"]

    def unpause(self, dag_id: str) -> None:
        """Makes a DAG's runs begin."""
        self.client.patch(f"/dags/{dag_id}", json={"is_paused": False}).raise_for_status()

    def pause(self, dag_id: str) -> None:
        """The opposite."""
        self.client.patch(f"/dags/{dag_id}", json={"is_paused": True}).raise_for_status()

    def run(self, dag_id: str, **conf: object) -> str:
        """Starts a run by hand, waits for its end and expects it to be a success; returns its id."""
        self.unpause(dag_id)
        run_id = self.trigger(dag_id, **conf)
        self.expect_success(dag_id, run_id)
        return run_id

    def expect_success(self, dag_id: str, run_id: str) -> dict[str, tuple[str, str | None]]:
        """Waits for a run's end and expects it to be a success; returns the state and label of its tasks."""
        state = self.wait_for_run(dag_id, run_id)
        tasks = self.task_states(dag_id, run_id)
        assert state == "success", tasks
        return tasks

    def wait_for_run(self, dag_id: str, run_id: str, seconds: float = 900) -> str:
        """Waits until a run has ended and returns its state."""
        return wait_until(
            lambda: self.find_end(dag_id, run_id),
            seconds,
            lambda: f"{dag_id} {run_id} ends; {self.task_states(dag_id, run_id)}",
            POLL_SECONDS,
        )

    def list_runs(self, dag_id: str) -> set[str]:
        """Ids of the newest hundred runs of a DAG."""
        answer = self.get(f"/dags/{dag_id}/dagRuns", order_by="-run_after", limit=100)
        return {run["dag_run_id"] for run in answer["dag_runs"]}

    def wait_for_new_run(self, dag_id: str, before: set[str], seconds: float = 400) -> str:
        """Waits for the one run that was not there before, and for its end; returns its id."""
        run_id = self._find_new_run(dag_id, before, seconds)
        self.wait_for_run(dag_id, run_id)
        return run_id

    def start_by_clock(self, dag_id: str) -> str:
        """Unpauses a DAG that a clock starts; its last time has passed, so a run begins at once. Returns its id."""
        before = self.list_runs(dag_id)
        self.unpause(dag_id)
        return self._find_new_run(dag_id, before, 300)

    def _find_new_run(self, dag_id: str, before: set[str], seconds: float) -> str:
        [run_id] = wait_until(lambda: self.list_runs(dag_id) - before, seconds, f"a new run of {dag_id}", POLL_SECONDS)
        return run_id

    def wait_for_quiet(self, seconds: float = 900) -> None:
        """Waits until no training and no rollout has run for a while: an event takes some seconds to become a run."""
        quiet_since = time.monotonic()

        def is_quiet() -> bool:
            nonlocal quiet_since
            if any(self._is_active(dag_id, state) for dag_id in (TRAIN, SERVE) for state in ("queued", "running")):
                quiet_since = time.monotonic()
            return time.monotonic() - quiet_since > QUIET_SECONDS

        wait_until(is_quiet, seconds, "no training and no rollout runs", POLL_SECONDS)

    def _is_active(self, dag_id: str, state: str) -> bool:
        return self.get(f"/dags/{dag_id}/dagRuns", state=state, limit=1)["total_entries"] > 0

    def find_end(self, dag_id: str, run_id: str) -> str | None:
        """The state of a run that is over; None before."""
        state = self.get(f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}")["state"]
        return state if state in {"success", "failed"} else None

    def task_states(self, dag_id: str, run_id: str) -> dict[str, tuple[str, str | None]]:
        """State and label of every task of a run, by its id and, where it is mapped, its index."""
        tasks = self.get(f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances")["task_instances"]
        return {_name_task(task): (task["state"], task["rendered_map_index"]) for task in tasks}

    def read_question(self, dag_id: str, run_id: str) -> dict[str, Any] | None:
        """What a person is asked under *Required actions* by a task of a run; None while nobody is."""
        found = self.get(f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/hitlDetails")["hitl_details"]
        return found[0] if found else None

    def answer(self, question: dict[str, Any], option: str) -> None:
        """Decides as a person does in the UI, after reading the question.

        A response within the scheduler's same look as the question fails the task: the scheduler takes the end of the
        process that asked for the end of the one that goes on (Airflow 3.3).
        """
        time.sleep(READING_SECONDS)
        task = question["task_instance"]
        path = f"/dags/{task['dag_id']}/dagRuns/{quote(task['dag_run_id'], safe='')}/taskInstances/{task['task_id']}"
        body = {"chosen_options": [option], "params_input": {}}
        self.client.patch(f"{path}/{task['map_index']}/hitlDetails", json=body).raise_for_status()

    def decide(self, dag_id: str, run_id: str, option: str, seconds: float) -> None:
        """Decides as a person does until a run has ended: Airflow may lose a response, and then asks again."""

        def is_over() -> bool:
            if self.find_end(dag_id, run_id):
                return True
            question = self.read_question(dag_id, run_id)
            if question and not question["response_received"]:
                self.answer(question, option)
            return False

        wait_until(is_over, seconds, lambda: f"{dag_id} {run_id} ends; {self.task_states(dag_id, run_id)}")

    def log(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1, attempt: int = 1) -> str:
        """The text of one task's log."""
        path = f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances/{task_id}/logs/{attempt}"
        answer = self.client.get(path, params={"map_index": map_index}, headers={"Accept": "application/json"})
        return "\n".join(_read_event(event) for event in answer.json().get("content", []))


def _name_task(task: dict) -> str:
    return task["task_id"] if task["map_index"] == -1 else f"{task['task_id']}[{task['map_index']}]"


def _read_event(event: str | dict) -> str:
    if isinstance(event, str):
        return event
    details = "; ".join(f"{error['exc_type']}: {error['exc_value']}" for error in event.get("error_detail", []))
    return f"{event['event']} {event.get('reason', '')} {details}"
