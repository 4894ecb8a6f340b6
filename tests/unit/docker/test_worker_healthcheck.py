"""When a worker counts as one that takes no tasks."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.docker.scripts import load_script

FILE = Path(__file__).parents[3] / "docker" / "airflow" / "worker_healthcheck.py"


@pytest.fixture(scope="module")
def healthcheck() -> ModuleType:
    return load_script(FILE)


def test_a_message_has_waited_after_a_minute_as_the_first(healthcheck: ModuleType, tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert [healthcheck.has_waited("one", state, now) for now in (0, 30, 60, 61)] == [False, False, False, True]


def test_an_empty_queue_is_the_first_thing_that_a_new_worker_sees(healthcheck: ModuleType, tmp_path: Path) -> None:
    assert healthcheck.has_waited("", tmp_path / "state", 0) is False


def test_another_first_message_starts_the_minute_again(healthcheck: ModuleType, tmp_path: Path) -> None:
    state = tmp_path / "state"
    waits = [healthcheck.has_waited(*check) for check in (("one", state, 0), ("two", state, 50), ("two", state, 100))]
    assert waits == [False, False, False]


@pytest.mark.parametrize(
    ("children", "is_free"),
    [({}, True), ({20: 11}, True), ({20: 11, 21: 12}, False), ({20: 11, 21: 11}, True)],
)
def test_a_slot_without_a_child_is_free(healthcheck: ModuleType, children: dict[int, int], is_free: bool) -> None:
    parents = {1: 0, 10: 1, 11: 10, 12: 10, **children}
    assert healthcheck.has_free_slot(parents, {11, 12}) is is_free


def test_a_slot_is_one_before_its_first_task_while_a_task_begins_and_after(healthcheck: ModuleType) -> None:
    titles = {
        1: "/sbin/docker-init -- sh /opt/airflow/start.sh airflow celery worker",
        10: "[celeryd: celery@host:MainProcess] -active- (airflow celery worker)",
        11: "[celeryd: celery@host:ForkPoolWorker-1]",
        12: "airflow supervisor: iris.train manual__2026",
        13: "airflow supervisor: iris.train manual__2026",
        20: "airflow supervisor: iris.train manual__2026",
        21: "airflow worker -- 01a22825",
    }
    parents = {1: 0, 10: 1, 11: 10, 12: 10, 13: 10, 20: 12, 21: 13}
    assert healthcheck.find_slots(titles, parents) == {11, 12, 13}


BUSY, FREE = {20: 11, 21: 12}, {20: 11}


@pytest.mark.parametrize(
    ("message", "waits", "children", "finding"),
    [
        ("", True, {}, ""),
        ("one", False, {}, ""),
        ("one", True, BUSY, ""),
        ("one", True, FREE, "a task waits while 2 slots are not all busy"),
    ],
)
def test_a_worker_is_unhealthy_if_a_task_waits_beside_a_free_slot(
    healthcheck: ModuleType, message: str, waits: bool, children: dict[int, int], finding: str
) -> None:
    assert healthcheck.find_problem(message, waits, children, {11, 12}) == finding


def test_a_task_that_waits_in_any_queue_of_the_worker_counts(healthcheck: ModuleType, tmp_path: Path) -> None:
    firsts = {"default": "", "training": "one"}
    found = [healthcheck.look_at_queues(firsts, tmp_path / "state", now, FREE, {11, 12}) for now in (0, 30, 61)]
    assert found == ["", "", "a task waits while 2 slots are not all busy"]


def test_the_minutes_of_two_queues_begin_apart(healthcheck: ModuleType, tmp_path: Path) -> None:
    looks = (({"default": "a", "training": ""}, 0), ({"default": "", "training": "b"}, 61))
    found = [healthcheck.look_at_queues(firsts, tmp_path / "state", now, FREE, {11, 12}) for firsts, now in looks]
    assert found == ["", ""]


def test_a_worker_without_slots_is_unhealthy(healthcheck: ModuleType) -> None:
    assert healthcheck.find_problem("", False, {}, set()) == "no slot"
