"""Workers and the broker of `make up PROFILE=celery` are killed, stopped and away: no task is lost, none ends twice.

The times are those of tests/e2e/short_times.yaml, in the order of docs/scaling.md. Two workers have four slots each.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.airflow import Airflow
from tests.e2e.marks import MarkedRun, noted, read_name
from tests.e2e.stack import WITH_CELERY, Stack, docker
from tests.waiting import wait_until

pytestmark = pytest.mark.long

SHORT_TIMES = "tests/e2e/short_times.yaml"
FILES = (*WITH_CELERY, "--file", SHORT_TIMES)

HEARTBEAT_TIMEOUT, QUEUED_TIMEOUT, SLOTS = 60, 90, 4
TASK_SECONDS = 90
"""So long that tasks in all slots run at once, although a busy machine starts them one after the other."""
RETRY_SECONDS = 20
"""The first retry of a pipeline's task comes after 10 s, and Airflow spreads it over twice that."""

SLACK_SECONDS = 60
"""For a busy machine, and for the scheduler, which looks for lost heartbeats every 10 s."""


@pytest.fixture(scope="module")
def celery(stack: Stack) -> Iterator[Stack]:
    """The stack with two workers and the short times; the DAGs and the table of marks are there."""
    (stack.folder / SHORT_TIMES).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(__file__).parent / "short_times.yaml", stack.folder / SHORT_TIMES)
    with noted(stack):
        stack.compose(*FILES, "up", "--detach", "--wait", "--scale", "airflow-worker=2", timeout=1500)
        yield stack


@pytest.fixture(scope="module")
def airflow(celery: Stack) -> Iterator[Airflow]:
    """The API server, which has started again."""
    with closing(Airflow(celery)) as airflow:
        yield airflow


def list_workers(stack: Stack) -> list[str]:
    """Containers of the workers that run."""
    return stack.compose(*FILES, "ps", "--quiet", "airflow-worker").stdout.split()


def scale(stack: Stack, workers: int) -> None:
    """Starts or stops workers until there are so many, and touches nothing else."""
    # `--wait` would refuse a scale of none.
    options = ["--detach", "--no-deps", "--no-recreate", *(["--wait"] if workers else [])]
    stack.compose(*FILES, "up", *options, "--scale", f"airflow-worker={workers}", "airflow-worker")
    assert len(list_workers(stack)) == workers


def wait_for_full(stack: Stack, run: MarkedRun) -> str:
    """Waits until all slots of a worker run tasks of a run, and returns its container; other DAGs may have the rest."""
    names = {container: read_name(container) for container in list_workers(stack)}

    def find() -> str | None:
        return next((one for one, name in names.items() if len(run.list_running(name)) == SLOTS), None)

    return wait_until(find, 300, lambda: f"{SLOTS} tasks run on a worker; {run.read()}")


def read_starts(stack: Stack) -> dict[str, str]:
    """When each container of scheduler and workers began."""
    containers = [*list_workers(stack), *stack.compose(*FILES, "ps", "--quiet", "airflow-scheduler").stdout.split()]
    return {found["Id"]: found["State"]["StartedAt"] for found in json.loads(docker("inspect", *containers).stdout)}


def kill_broker(stack: Stack, seconds: float) -> None:
    """Kills the broker and starts it again after a time."""
    [broker] = stack.compose(*FILES, "ps", "--quiet", "broker").stdout.split()
    docker("kill", broker)
    time.sleep(seconds)
    stack.compose(*FILES, "up", "--detach", "--no-deps", "--no-recreate", "--wait", "broker")


def cut_connections(stack: Stack) -> None:
    """Closes every connection to the broker, as a network does that is away for a moment."""
    [broker] = stack.compose(*FILES, "ps", "--quiet", "broker").stdout.split()
    command = 'export REDISCLI_AUTH="$BROKER_PASSWORD"; for t in normal pubsub; do valkey-cli client kill type $t; done'
    docker("exec", broker, "sh", "-c", command)


def test_a_killed_worker_loses_no_task(celery: Stack, airflow: Airflow, repeat: int) -> None:
    """With an odd number the worker starts again at once, under its old name."""
    scale(celery, 2)
    run = MarkedRun(celery, airflow, "default_8", TASK_SECONDS)
    killed = wait_for_full(celery, run)
    docker("kill", killed)
    when = time.monotonic()
    lost = run.list_running(read_name(killed))
    if repeat % 2:
        docker("start", killed)
    run.expect_success()
    seconds = time.monotonic() - when
    print(f"\nkill {repeat}: {len(lost)} of 8 tasks were lost and ran again, all ended {seconds:.0f} s after the kill")
    assert len(lost) == SLOTS
    assert run.count("begin") == {number: 2 if number in lost else 1 for number in range(8)}
    assert run.read_tries() == run.count("begin")
    assert run.count_sent_again() == 0
    assert seconds < HEARTBEAT_TIMEOUT + RETRY_SECONDS + TASK_SECONDS + SLACK_SECONDS


@pytest.mark.parametrize("away", [10, 60])
def test_tasks_outlast_a_killed_broker(celery: Stack, airflow: Airflow, away: int) -> None:
    scale(celery, 2)
    starts = read_starts(celery)
    run = MarkedRun(celery, airflow, "default_40", 8)
    run.wait_for_ends(4)
    kill_broker(celery, away)
    seconds = run.expect_success()
    tries = run.read_tries()
    after = MarkedRun(celery, airflow, "default_8", TASK_SECONDS)
    after.expect_success()
    assert {mark.host for mark in after.read()} == {read_name(worker) for worker in list_workers(celery)}
    print(f"\nbroker away for {away} s: {seconds:.0f} s in all, tries {sorted(tries.values())}")
    assert run.count("begin") == dict.fromkeys(range(40), 1)
    assert run.count_sent_again() == after.count_sent_again() == 0
    assert read_starts(celery) == starts


def test_a_stopped_worker_ends_its_tasks_and_takes_no_more(celery: Stack, airflow: Airflow) -> None:
    scale(celery, 2)
    run = MarkedRun(celery, airflow, "default_8", TASK_SECONDS)
    stopped = wait_for_full(celery, run)
    docker("stop", "--time", "600", stopped)
    ended = run.count("end")
    assert {mark.number for mark in run.read() if mark.host == read_name(stopped)} <= set(ended)
    run.expect_success()
    assert set(run.read_tries().values()) == {1}
    assert run.count_sent_again() == 0
    docker("start", stopped)


def test_scaling_in_and_out_retries_no_task(celery: Stack, airflow: Airflow) -> None:
    scale(celery, 3)
    run = MarkedRun(celery, airflow, "default_60", 4)
    run.wait_for_ends(6)
    scale(celery, 1)
    when_one = len(run.count("end"))
    scale(celery, 3)
    assert when_one < 60
    seconds = run.expect_success()
    hosts = {mark.host for mark in run.read()}
    print(f"\n3 -> 1 -> 3 workers: 60 tasks on {len(hosts)} hosts in {seconds:.0f} s, {when_one} had ended with one")
    assert len(hosts) >= 3
    assert run.count("begin") == dict.fromkeys(range(60), 1)
    assert set(run.read_tries().values()) == {1}
    assert run.count_sent_again() == 0


@pytest.mark.parametrize("harm", ["none", "broker dies", "connections are cut"])
def test_a_task_runs_once_that_is_longer_than_its_message_is_valid(celery: Stack, airflow: Airflow, harm: str) -> None:
    """The harm is done when the message's token is too old to begin the task a second time."""
    scale(celery, 2)
    run = MarkedRun(celery, airflow, "default_1", 2 * QUEUED_TIMEOUT)
    run.wait_for_running(1)
    if harm != "none":
        time.sleep(QUEUED_TIMEOUT + 10)
        kill_broker(celery, 5) if harm == "broker dies" else cut_connections(celery)
    run.expect_success()
    assert run.count("begin") == {0: 1}
    assert run.read_tries() == {0: 1}
    assert run.count_sent_again() == 0


def test_a_task_runs_once_that_waited_for_longer_than_its_message_is_valid(celery: Stack, airflow: Airflow) -> None:
    """Its message was sent again meanwhile, and the worker that comes back finds both."""
    scale(celery, 0)
    run = MarkedRun(celery, airflow, "rollout_1", 10)
    wait_until(lambda: run.count_sent_again() == 1, 4 * QUEUED_TIMEOUT, "the message is sent again")
    wait_until(lambda: run.read_states()["queued"] == 1, 60, "the task waits again")
    scale(celery, 2)
    run.expect_success()
    assert run.count("begin") == {0: 1}
    assert run.read_tries() == {0: 1}
