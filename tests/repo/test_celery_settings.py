"""The times of tasks that run in workers, as one set: faults taught in which order they must be (docs/scaling.md)."""

from __future__ import annotations

import configparser
import json
import re
from functools import cache
from typing import Any

import pytest
import yaml

from tests.repo.repository import ROOT, list_celery_services, list_imports

CELERY = list_celery_services()
SHORT = yaml.safe_load((ROOT / "tests/e2e/short_times.yaml").read_text())["services"]
"""What the end-to-end tests shorten: their faults prove something only in the same order."""
BROKER_AWAY_SECONDS = 60
"""Longest absence of the broker that no task may fail of: a restart takes 20 s on a busy machine."""

HEARTBEAT_SECONDS = 5
"""Default of `[workers] min_heartbeat_interval` of Airflow."""

SHARED = {
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT",
}

LOST_HEARTBEATS = 20
"""So many may be late on a busy machine before a task counts as lost."""


def read_setting(service: str, section: str, name: str, shorter: dict[str, Any] | None = None) -> str:
    """What a service of the stack has: its environment counts for more than airflow.cfg, and `shorter` for the most."""
    environment = CELERY[service]["environment"] | (shorter or {}).get(service, {}).get("environment", {})
    variable = f"AIRFLOW__{section}__{name}".upper()
    if variable in environment:
        found = str(environment[variable])
        return re.sub(r"^\$\{\w+:-(.*)\}$", r"\1", found)
    return read_cfg()[section][name]


@cache
def read_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "docker/airflow/airflow.cfg")
    return parser


def read_durations() -> dict[str, float]:
    """Seconds of the constants and of the defaults in plugins/task_defaults.py."""
    text = (ROOT / "plugins/task_defaults.py").read_text()
    units = {"seconds": 1, "minutes": 60, "hours": 3600}
    found = re.findall(r"^ *\"?(\w+)\"?(?: =|:) pendulum\.duration\((\w+)=(\d+)\)", text, re.MULTILINE)
    return {name: int(number) * units[unit] for name, unit, number in found}


def test_the_durations_are_found() -> None:
    assert set(read_durations()) == {"TASK_TIMEOUT", "TRAINING_TIMEOUT", "retry_delay"}
    assert "pendulum" in list_imports(ROOT / "plugins/task_defaults.py")


@pytest.mark.parametrize("shorter", [{}, SHORT])
def test_the_broker_sends_no_message_again_while_its_task_runs(shorter: dict[str, Any]) -> None:
    """The second copy would be refused, for its token is too old, and the refusal ends the task that runs."""
    longest = max(
        *read_durations().values(),
        float(read_setting("airflow-scheduler", "core", "default_task_execution_timeout", shorter)),
    )
    for service in ("airflow-scheduler", "airflow-worker"):
        visibility = float(read_setting(service, "celery_broker_transport_options", "visibility_timeout", shorter))
        # A message is taken before its task runs, and may have waited as long as a task may wait.
        assert visibility > longest + float(read_setting(service, "scheduler", "task_queued_timeout", shorter))


def test_a_worker_settles_a_message_when_its_task_begins_and_takes_none_ahead() -> None:
    """A message that waits for the task's end comes again when a connection is cut, and ends the task like above."""
    elsewhere = yaml.safe_load((ROOT / "docker/celery/worker.yaml").read_text())["services"]["airflow-worker"]
    for environment in (CELERY["airflow-worker"]["environment"], elsewhere["environment"]):
        assert environment["AIRFLOW__CELERY__TASK_ACKS_LATE"] == "False"
        # Else it takes as many messages as it has slots beside the tasks that run, which other workers could begin.
        assert json.loads(environment["AIRFLOW__CELERY__EXTRA_CELERY_CONFIG"]) == {"worker_disable_prefetch": True}


def test_a_busy_scheduler_has_time_to_publish_a_task() -> None:
    assert float(read_setting("airflow-scheduler", "celery", "operation_timeout")) >= 10


def test_the_retries_of_a_task_last_longer_than_the_broker_is_away() -> None:
    """A task that cannot be sent uses up a try at once."""
    text = (ROOT / "plugins/task_defaults.py").read_text()
    [retries] = map(int, re.findall(r'"retries": (\d+)', text))
    assert '"retry_exponential_backoff": True' in text
    delay = read_durations()["retry_delay"]
    assert sum(delay * 2**number for number in range(retries)) > BROKER_AWAY_SECONDS


def test_a_task_of_no_pipeline_is_retried_after_the_broker_is_back() -> None:
    """A lesson, or a DAG of one's own, has Airflow's own delay of five minutes."""
    assert int(read_cfg()["core"]["default_task_retries"]) >= 1
    assert not read_cfg().has_option("core", "default_task_retry_delay")


@pytest.mark.parametrize("shorter", [{}, SHORT])
def test_a_lost_worker_is_noticed_after_several_heartbeats_and_before_the_wait_for_a_slot_ends(
    shorter: dict[str, Any],
) -> None:
    heartbeat = float(read_setting("airflow-scheduler", "scheduler", "task_instance_heartbeat_timeout", shorter))
    queued = float(read_setting("airflow-scheduler", "scheduler", "task_queued_timeout", shorter))
    changes = shorter.get("airflow-worker", {}).get("environment", {})
    interval = float(changes.get("AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL", HEARTBEAT_SECONDS))
    assert LOST_HEARTBEATS * interval < heartbeat < queued


def test_the_short_times_are_the_same_for_every_service() -> None:
    """The scheduler judges heartbeats that the worker sends, and tokens that the API server checks."""
    times = [{name: value for name, value in of["environment"].items() if name in SHARED} for of in SHORT.values()]
    assert [set(of) for of in times] == [SHARED] * len(SHORT)
    assert all(of == times[0] for of in times)
    assert set(SHORT) == {"airflow-apiserver", "airflow-scheduler", "airflow-worker"}


def test_a_worker_that_is_stopped_has_the_time_of_an_ordinary_task() -> None:
    grace = re.search(r":-(\d+)s", CELERY["airflow-worker"]["stop_grace_period"])
    assert grace is not None
    assert int(grace[1]) >= 600
    # Only its main process gets the signal, so that it waits for its tasks.
    assert CELERY["airflow-worker"]["init"] is True
    assert 'exec "$@"' in (ROOT / "docker/airflow/start.sh").read_text()


def test_a_worker_runs_two_tasks_each_in_a_process_that_imports_the_libraries() -> None:
    assert read_setting("airflow-worker", "celery", "worker_concurrency") == "2"


def test_how_tasks_ended_is_noted_in_a_database_of_its_own() -> None:
    """With it in the broker, ten seconds without the broker end the scheduler."""
    for service in ("airflow-scheduler", "airflow-worker"):
        assert read_setting(service, "celery", "result_backend").startswith("db+postgresql+psycopg2://celery:")
