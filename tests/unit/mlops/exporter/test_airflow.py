from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from prometheus_client.core import Metric

from mlops.exporter.airflow import AirflowSource

T = "2026-11-28T10:00:0"


class FakeApi:
    """Airflow's answers, as its REST API gives them."""

    def __init__(self) -> None:
        self.health: dict[str, Any] = {
            "metadatabase": {"status": "healthy"},
            "scheduler": {"status": "healthy", "latest_scheduler_heartbeat": f"{T}0Z"},
            "triggerer": {"status": "unhealthy", "latest_triggerer_heartbeat": f"{T}1Z"},
            "dag_processor": None,
        }
        self.stats = {"train": {"success": 2, "failed": 1, "running": 1}, "quiet": {"success": 0}}
        self.runs: list[dict[str, Any]] = [
            make_run("train", "success", f"{T}0Z", f"{T}4Z"),
            make_run("train", "success", f"{T}0Z", f"{T}2Z"),
            make_run("train", "failed", None, f"{T}3Z"),
            make_run("train", "failed", None, None),
            make_run("deleted", "failed", f"{T}0Z", f"{T}9Z"),
        ]
        self.pages: list[int] = []

    def read_health_details(self) -> dict[str, Any]:
        return self.health

    def count_runs(self) -> dict[str, dict[str, int]]:
        return self.stats

    def list_ended_runs(self, pages: int) -> Sequence[dict[str, Any]]:
        self.pages.append(pages)
        return self.runs

    def list_pools(self) -> Sequence[dict[str, Any]]:
        return [
            {
                "name": "training",
                "slots": 1,
                "open_slots": 0,
                "running_slots": 1,
                "queued_slots": 2,
                "scheduled_slots": 3,
                "deferred_slots": 4,
            }
        ]

    def count_import_errors(self) -> int:
        return 5


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def source(api: FakeApi) -> AirflowSource:
    return AirflowSource(api)  # type: ignore[arg-type]


def make_run(dag_id: str, state: str, start: str | None, end: str | None) -> dict[str, Any]:
    return {"dag_id": dag_id, "state": state, "start_date": start, "end_date": end}


def read(source: AirflowSource) -> dict[tuple[str, ...], float]:
    metrics: Sequence[Metric] = source.read()
    return {
        (s.name.removeprefix("mlops_airflow_"), *s.labels.values()): s.value
        for metric in metrics
        for s in metric.samples
    }


def test_a_part_without_a_sign_of_life_is_not_healthy(source: AirflowSource) -> None:
    found = read(source)
    assert {part: found["component_healthy", part] for part in ("scheduler", "triggerer", "dag_processor")} == {
        "scheduler": 1,
        "triggerer": 0,
        "dag_processor": 0,
    }
    assert found["heartbeat_timestamp_seconds", "triggerer"] - found["heartbeat_timestamp_seconds", "scheduler"] == 1
    assert ("heartbeat_timestamp_seconds", "dag_processor") not in found


def test_the_newest_end_of_each_state_counts(source: AirflowSource) -> None:
    found = read(source)
    ends = [found["dag_run_end_timestamp_seconds", "train", state] for state in ("success", "failed")]
    assert ends[0] - ends[1] == 1
    assert found["dag_run_duration_seconds", "train", "success"] == 4
    assert found["dag_run_duration_seconds", "train", "failed"] == 0


def test_an_end_is_remembered_beyond_the_page_until_its_run_is_gone(source: AirflowSource, api: FakeApi) -> None:
    before = read(source)
    api.runs = []
    key = ("dag_run_end_timestamp_seconds", "train", "failed")
    assert read(source)[key] == before[key]
    assert api.pages == [10, 1]
    api.stats["train"]["failed"] = 0
    assert key not in read(source)


def test_a_dag_that_airflow_forgot_has_no_figure(source: AirflowSource) -> None:
    assert [key for key in read(source) if "deleted" in key] == []


def test_runs_pools_and_import_errors_are_counted(source: AirflowSource) -> None:
    found = read(source)
    assert found["dag_runs", "train", "running"] == 1
    assert {state: found["pool_slots", "training", state] for state in ("open", "running", "queued", "scheduled")} == {
        "open": 0,
        "running": 1,
        "queued": 2,
        "scheduled": 3,
    }
    assert found["pool_size_slots", "training"] == 1
    assert found["import_errors",] == 5
