"""Airflow's figures from its REST API: its own counters are frozen copies in the scheduler's forked children."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric

from mlops.airflow_api import AirflowApi

COMPONENTS = {
    "scheduler": "latest_scheduler_heartbeat",
    "triggerer": "latest_triggerer_heartbeat",
    "dag_processor": "latest_dag_processor_heartbeat",
}

SLOTS = ("open", "running", "queued", "scheduled", "deferred")

FIRST_PAGES = 10
"""Pages of 100 runs at the first reading, for DAGs that run rarely; the newest page later."""

type Ends = dict[tuple[str, str], tuple[float, float]]
"""When the newest run of a DAG and state ended, and its seconds."""


class AirflowSource:
    """Reads Airflow, and remembers the newest end of each DAG's runs beyond the page that is read each time."""

    def __init__(self, api: AirflowApi) -> None:
        self._api = api
        self._ends: Ends = {}

    def read(self) -> Sequence[Metric]:
        """Health, runs, pools and import errors.

        Raises:
            LocalStackError: Airflow does not answer, or refuses the user.
        """
        health = describe_health(self._api.read_health_details())
        self._ends = merge_ends(self._ends, self._api.list_ended_runs(1 if self._ends else FIRST_PAGES))
        import_errors = GaugeMetricFamily("mlops_airflow_import_errors", "DAG files that Airflow cannot import")
        import_errors.add_metric([], self._api.count_import_errors())
        stats = self._api.count_runs()
        return [
            *health,
            describe_runs(stats),
            *describe_ends(self._ends, stats),
            *self._describe_pools(),
            import_errors,
        ]

    def _describe_pools(self) -> Iterable[Metric]:
        slots = GaugeMetricFamily(
            "mlops_airflow_pool_slots", "Slots of a pool: tasks by state, and open ones", labels=["pool", "state"]
        )
        size = GaugeMetricFamily("mlops_airflow_pool_size_slots", "All slots of a pool", labels=["pool"])
        for pool in self._api.list_pools():
            size.add_metric([pool["name"]], pool["slots"])
            for state in SLOTS:
                slots.add_metric([pool["name"], state], pool[f"{state}_slots"])
        return slots, size


def describe_health(health: Mapping[str, Any]) -> Sequence[Metric]:
    """Airflow's judgement on its parts, and when each was last alive."""
    healthy = GaugeMetricFamily(
        "mlops_airflow_component_healthy", "Whether Airflow judges a part of it healthy", labels=["component"]
    )
    heartbeat = GaugeMetricFamily(
        "mlops_airflow_heartbeat_timestamp_seconds", "Last sign of life of a part of Airflow", labels=["component"]
    )
    for component in ("metadatabase", *COMPONENTS):
        part = health.get(component) or {}
        healthy.add_metric([component], float(part.get("status") == "healthy"))
        moment = part.get(COMPONENTS.get(component, ""))
        if moment:
            heartbeat.add_metric([component], _read_time(moment))
    return healthy, heartbeat


def describe_runs(stats: Mapping[str, Mapping[str, int]]) -> Metric:
    """Runs that Airflow's history has now."""
    runs = GaugeMetricFamily("mlops_airflow_dag_runs", "Runs in Airflow's history by state", labels=["dag_id", "state"])
    for dag_id, states in stats.items():
        for state, count in states.items():
            runs.add_metric([dag_id, state], count)
    return runs


def merge_ends(known: Ends, runs: Iterable[Mapping[str, Any]]) -> Ends:
    """Adds runs that have ended; the newest of each DAG and state counts."""
    found = dict(known)
    for run in runs:
        if not run["end_date"]:
            continue
        end = _read_time(run["end_date"])
        seconds = max(0.0, end - _read_time(run["start_date"])) if run["start_date"] else 0.0
        key = (run["dag_id"], run["state"])
        found[key] = max(found.get(key, (0.0, 0.0)), (end, seconds))
    return found


def describe_ends(ends: Ends, stats: Mapping[str, Mapping[str, int]]) -> Sequence[Metric]:
    """The newest end of each DAG's runs, by state; runs that Airflow's history has lost are left out."""
    labels = ["dag_id", "state"]
    end = GaugeMetricFamily(
        "mlops_airflow_dag_run_end_timestamp_seconds", "When the newest run of a state ended", labels=labels
    )
    duration = GaugeMetricFamily(
        "mlops_airflow_dag_run_duration_seconds", "How long the newest run of a state took", labels=labels
    )
    for (dag_id, state), (moment, seconds) in ends.items():
        if stats.get(dag_id, {}).get(state):
            end.add_metric([dag_id, state], moment)
            duration.add_metric([dag_id, state], seconds)
    return end, duration


def _read_time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
