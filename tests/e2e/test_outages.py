"""A training while one service, or all of them, die, hang or are away for a minute: its run ends well, once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from urllib.parse import quote

import pytest

from tests.e2e.airflow import TRAIN, Airflow
from tests.e2e.publishing import Publisher
from tests.e2e.stack import Stack, docker
from tests.waiting import wait_until

TREES = 300
"""Enough that a training is still under way when the harm is done."""

SYSTEMS = {"mlflow", "minio"}
"""What a task itself asks."""

MOST_TRIES, MOST_TRIES_OF_SYSTEMS = 2, 4
"""Of one task: a part of Airflow that is away costs one more, a system each of the three retries."""

OUTAGE_SECONDS = 60

FLOWER = [5.1, 3.5, 1.4, 0.2]

type Harm = Callable[[Stack, str, float], AbstractContextManager[None]]


@contextmanager
def killed(stack: Stack, service: str, seconds: float) -> Iterator[None]:
    """A service that dies at once and is away for a time."""
    docker("kill", *stack.containers(service))
    try:
        yield time.sleep(seconds)
    finally:
        stack.compose("up", "--detach", "--no-deps", "--wait", service)


@contextmanager
def hung(stack: Stack, service: str, seconds: float) -> Iterator[None]:
    """A service that keeps its connections and does not respond for a time."""
    containers = stack.containers(service)
    docker("pause", *containers)
    try:
        yield time.sleep(seconds)
    finally:
        docker("unpause", *containers)


def start_training(airflow: Airflow) -> str:
    """Starts a training of a forest, and waits until its fit runs."""
    airflow.wait_for_quiet()
    hyperparameters = {"n_estimators": TREES}
    run_id = airflow.trigger(
        TRAIN, dataset="iris", model_type="sklearn", estimator="random_forest", hyperparameters=hyperparameters
    )
    wait_until(lambda: is_training(airflow, run_id), 240, "the training runs", 0.2)
    return run_id


def is_training(airflow: Airflow, run_id: str) -> bool:
    return airflow.task_states(TRAIN, run_id).get("train_dataset.train[0]", ("",))[0] == "running"


def read_tries(airflow: Airflow, run_id: str) -> dict[str, int]:
    """Tries of each task of a run."""
    path = f"/dags/{TRAIN}/dagRuns/{quote(run_id, safe='')}/taskInstances"
    return {task["task_id"]: task["try_number"] for task in airflow.get(path)["task_instances"]}


@pytest.mark.long
@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(
    ("harm", "service", "seconds"),
    [
        (killed, "postgres", 0),
        (killed, "postgres", OUTAGE_SECONDS),
        (killed, "airflow-apiserver", 0),
        (killed, "airflow-scheduler", 0),
        (killed, "mlflow", OUTAGE_SECONDS),
        (killed, "minio", OUTAGE_SECONDS),
        (hung, "postgres", OUTAGE_SECONDS),
        (hung, "mlflow", OUTAGE_SECONDS),
        (hung, "minio", OUTAGE_SECONDS),
        (hung, "airflow-apiserver", OUTAGE_SECONDS),
        (hung, "airflow-scheduler", OUTAGE_SECONDS),
        (hung, "airflow-triggerer", OUTAGE_SECONDS),
    ],
)
def test_a_training_outlasts_a_service_that_dies_or_hangs(
    stack: Stack, airflow: Airflow, harm: Harm, service: str, seconds: float
) -> None:
    run_id = start_training(airflow)
    started = time.monotonic()
    with harm(stack, service, seconds):
        pass
    airflow.expect_success(TRAIN, run_id)
    tries = read_tries(airflow, run_id)
    print(f"\n{service} for {seconds} s: {time.monotonic() - started:.0f} s to the end, {tries}")
    assert max(tries.values()) <= (MOST_TRIES_OF_SYSTEMS if service in SYSTEMS else MOST_TRIES), tries


@pytest.mark.long
@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize("seconds", [1, 6])
def test_a_training_ends_once_after_the_whole_stack_was_killed(
    stack: Stack, airflow: Airflow, publisher: Publisher, seconds: float
) -> None:
    run_id = start_training(airflow)
    time.sleep(seconds)
    docker("kill", *stack.list_names("ps"))
    started = time.monotonic()
    stack.compose("up", "--detach", "--wait")
    healthy = time.monotonic() - started
    airflow.expect_success(TRAIN, run_id)
    print(f"\nall killed after {seconds} s: healthy after {healthy:.0f} s, {read_tries(airflow, run_id)}")
    made_by = publisher.list_runs()
    assert len(made_by) == len(set(made_by)) != 0
    assert stack.read_version("iris", FLOWER) == publisher.read_model()["aliases"]["champion"]
