"""Airflow's REST API: the calls that `mlops` needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any
from urllib.parse import quote

import httpx

from mlops.errors import NoAnswerError, RunError

ENDED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
"""States that a task does not leave automatically."""


PAGE_SIZE = 100
"""Entries per call, Airflow's own limit."""

IN_MOTION = ("queued", "running")
"""States of a run that has not ended."""


@dataclass(frozen=True, slots=True)
class DagState:
    """A DAG as Airflow has parsed it; `choices` are the values that its form offers, by parameter."""

    is_paused: bool
    choices: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class RunState:
    """One run of a DAG; `since` is when it was to begin."""

    dag_id: str
    run_id: str
    state: str
    since: str


@dataclass(frozen=True, slots=True)
class TaskState:
    """One task of a run; `name` has the index of a mapped task, `label` is its rendered map index."""

    name: str
    state: str | None
    label: str | None
    seconds: float


class AirflowApi:
    """The API, with a login that is renewed when it expires.

    >>> api = AirflowApi("http://127.0.0.1:8080", "admin", "secret")
    >>> api.trigger("mlops_training_pipeline", {"dataset": "iris"})
    'manual__2026-11-22T08:00:00+00:00'
    """

    def __init__(self, url: str, username: str, password: str) -> None:
        self.url = url
        self._login = {"username": username, "password": password}
        self._client = httpx.Client(base_url=f"{url}/api/v2", timeout=60)

    def sign_in(self, timeout_seconds: float = 60.0) -> str:
        """Signs in, and returns the user's name.

        Raises:
            LocalStackError: Airflow does not answer, or does not know the user with this password.
        """
        self._fetch("POST", f"{self.url}/auth/token", self._keep_token, json=self._login, timeout=timeout_seconds)
        return self._login["username"]

    def trigger(self, dag_id: str, conf: Mapping[str, object]) -> str:
        """Starts a run by hand and returns its id."""
        body = {"logical_date": None, "conf": dict(conf)}
        return str(self._call("POST", f"/dags/{dag_id}/dagRuns", "dag_run_id", json=body))

    def list_dags(self) -> set[str]:
        """Ids of the DAGs that Airflow has parsed."""
        return {dag["dag_id"] for dag in self._read_pages("/dags", "dags")}

    def read_dag(self, dag_id: str) -> DagState:
        """Whether a DAG is paused, and the choices of its form."""
        return self._fetch("GET", f"/dags/{dag_id}/details", _read_dag)

    def read_health(self) -> dict[str, str]:
        """Airflow's own judgement on each of its processes; a process without a heartbeat is `unknown`."""
        return self._fetch("GET", "/monitor/health", _read_health)

    def read_health_details(self) -> dict[str, Any]:
        """The same with the time of each process' last sign of life, as Airflow writes it."""
        return self._fetch("GET", "/monitor/health", dict)

    def count_runs(self) -> dict[str, dict[str, int]]:
        """Number of runs in Airflow's history, by DAG and state."""
        dags = self._call("GET", "/dagStats", "dags")
        return {dag["dag_id"]: {entry["state"]: entry["count"] for entry in dag["stats"]} for dag in dags}

    def list_ended_runs(self, pages: int = 1) -> list[dict[str, Any]]:
        """The newest runs of all DAGs that succeeded or failed, as Airflow describes them."""
        query = {"state": ["success", "failed"], "order_by": "-end_date", "limit": PAGE_SIZE}
        found: list[dict[str, Any]] = []
        for _ in range(pages):
            page = self._call("GET", "/dags/~/dagRuns", "dag_runs", params={**query, "offset": len(found)})
            found += page
            if len(page) < PAGE_SIZE:
                break
        return found

    def list_pools(self) -> list[dict[str, Any]]:
        """Every pool with its slots, as Airflow describes it."""
        return self._read_pages("/pools", "pools")

    def count_import_errors(self) -> int:
        """Number of DAG files that Airflow cannot import."""
        return int(self._call("GET", "/importErrors", "total_entries", params={"limit": 1}))

    def list_notable_runs(self, since: datetime) -> list[RunState]:
        """Runs of all DAGs since a moment that have failed or not ended, the newest first."""
        query = {"run_after_gte": since.isoformat(), "state": [*IN_MOTION, "failed"], "order_by": "-run_after"}
        runs = self._read_pages("/dags/~/dagRuns", "dag_runs", query)
        return [RunState(run["dag_id"], run["dag_run_id"], run["state"], run["run_after"]) for run in runs]

    def list_runs(self, dag_id: str, since: datetime) -> dict[str, str]:
        """The state of every run of a DAG since a moment, by the run's id."""
        runs = self._read_pages(f"/dags/{dag_id}/dagRuns", "dag_runs", {"run_after_gte": since.isoformat()})
        return {run["dag_run_id"]: run["state"] for run in runs}

    def read_run_state(self, dag_id: str, run_id: str) -> str | None:
        """The state of one run, however old; None where Airflow does not have it any more."""
        try:
            return str(self._call("GET", f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}", "state"))
        except RunError as error:
            if isinstance(error.__cause__, httpx.HTTPStatusError) and error.__cause__.response.status_code == 404:
                return None
            raise

    def list_tasks(self, dag_id: str, run_id: str) -> list[TaskState]:
        """The state of each task of a run."""
        path = f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances"
        return [_read_task(task) for task in self._read_pages(path, "task_instances")]

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _read_pages(self, path: str, wanted: str, query: Mapping[str, object] | None = None) -> list[Any]:
        """Every entry of a list: Airflow cuts a longer page than its own largest without a word."""
        found: list[Any] = []
        while True:
            page = {"limit": PAGE_SIZE, "offset": len(found)}
            entries, total = self._fetch(
                "GET", path, itemgetter(wanted, "total_entries"), params={**(query or {}), **page}
            )
            found += entries
            if not entries or len(found) >= total:
                return found

    def _keep_token(self, answer: Mapping[str, Any]) -> None:
        self._client.headers["Authorization"] = f"Bearer {answer['access_token']}"

    def _call(self, method: str, path: str, wanted: str, **options: Any) -> Any:
        """Sends a request and returns one field of the response."""
        return self._fetch(method, path, itemgetter(wanted), **options)

    def _fetch[Found](self, method: str, path: str, read: Callable[[Any], Found], **options: Any) -> Found:
        """Sends a request and returns what is read of the response."""
        try:
            answer = self._client.request(method, path, **options)
            if answer.status_code == httpx.codes.UNAUTHORIZED:
                token = httpx.post(f"{self.url}/auth/token", json=self._login, timeout=60)
                self._keep_token(token.raise_for_status().json())
                answer = self._client.request(method, path, **options)
            return read(answer.raise_for_status().json())
        except httpx.TransportError as error:
            raise NoAnswerError(f"Airflow: expected an answer to {method} {path}, found none: {error}") from error
        except httpx.HTTPError as error:
            raise RunError(f"Airflow: expected an answer to {method} {path}, found: {error}") from error
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise RunError(
                f"{self.url}: expected Airflow to answer {method} {path}, found another response; "
                "`mlops doctor` finds out whether another program listens there"
            ) from error


def _read_dag(details: Mapping[str, Any]) -> DagState:
    schemas = {name: param["schema"] for name, param in (details["params"] or {}).items()}
    return DagState(details["is_paused"], {name: tuple(schema.get("enum") or ()) for name, schema in schemas.items()})


def _read_health(health: Mapping[str, Any]) -> dict[str, str]:
    parts = ("scheduler", "triggerer", "dag_processor")
    return {part: str((health[part] or {}).get("status") or "unknown") for part in parts}


def _read_task(task: Mapping[str, Any]) -> TaskState:
    number, label = str(task["map_index"]), task["rendered_map_index"]
    index = "" if number == "-1" else f"[{number}]"
    # Airflow labels a mapped task without a template with its number.
    return TaskState(
        f"{task['task_id']}{index}", task["state"], None if label == number else label, float(task["duration"] or 0)
    )
