"""Runs of the DAGs of tests/e2e/dags/marks.py, and what their tasks noted: each begin and each end."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.e2e.airflow import Airflow
from tests.e2e.stack import Stack, docker
from tests.waiting import wait_until

DAG_FILE = Path(__file__).parent / "dags/marks.py"
MAKE_TABLE = """
drop table if exists e2e_marks;
create table e2e_marks
    (run text, number int, what text, host text, at double precision default extract(epoch from clock_timestamp()));
grant insert on e2e_marks to warehouse;
"""
SENT_AGAIN = ("stuck in queued reschedule", "stuck in queued tries exceeded")
"""Airflow's events of tasks that waited for longer than `task_queued_timeout`."""


@contextmanager
def noted(stack: Stack) -> Iterator[None]:
    """The DAGs are in the stack's folder, and the table is there as long as the context."""
    shutil.copy(DAG_FILE, stack.folder / "dags")
    stack.query_warehouse(MAKE_TABLE)
    try:
        yield
    finally:
        stack.query_warehouse("drop table e2e_marks")


def read_name(container: str) -> str:
    """What tasks have as the name of their host."""
    return docker("inspect", "--format", "{{.Config.Hostname}}", container).stdout.strip()


@dataclass(frozen=True)
class Mark:
    """One begin or end of a task, at seconds since 1970 by the clock of Postgres."""

    number: int
    what: str
    host: str
    at: float


class MarkedRun:
    """One run of a DAG; its tasks have the numbers from 0 on."""

    def __init__(self, stack: Stack, airflow: Airflow, kind: str, seconds: float) -> None:
        self._stack, self._airflow = stack, airflow
        self.dag_id, self._size = f"marks_{kind}", int(kind.split("_")[1])
        wait_until(lambda: airflow.client.get(f"/dags/{self.dag_id}").status_code == 200, 240, "the DAG appears")
        airflow.unpause(self.dag_id)
        self.started = time.monotonic()
        self.run_id = airflow.trigger(self.dag_id, seconds=seconds)

    def read(self) -> list[Mark]:
        """All that its tasks noted, the oldest first."""
        columns = "json_build_array(number, what, host, at)"
        sql = f"select {columns} from e2e_marks where run = '{self.run_id}' order by at"
        return [Mark(*json.loads(line)) for line in self._stack.query_warehouse(sql).splitlines()]

    def count(self, what: str) -> Counter[int]:
        """How often each task has begun or ended."""
        return Counter(mark.number for mark in self.read() if mark.what == what)

    def list_running(self, host: str = "") -> set[int]:
        """Tasks whose last mark is a begin, on one host or on all."""
        last = {mark.number: mark for mark in self.read()}
        return {number for number, mark in last.items() if mark.what == "begin" and host in ("", mark.host)}

    def wait_for_running(self, number: int) -> None:
        """Waits until so many tasks run at once."""
        wait_until(lambda: len(self.list_running()) == number, 300, lambda: f"{number} tasks run; {self.read()}")

    def wait_for_ends(self, number: int) -> None:
        """Waits until so many tasks have ended."""
        wait_until(lambda: len(self.count("end")) >= number, 300, lambda: f"{number} ends; {self.read()}")

    def expect_success(self) -> float:
        """Waits for its end; expects that each task came to its end once. Returns the seconds since it was started."""
        self._airflow.expect_success(self.dag_id, self.run_id)
        seconds = time.monotonic() - self.started
        assert self.count("end") == dict.fromkeys(range(self._size), 1), self.read()
        return seconds

    def list_tasks(self) -> list[dict[str, Any]]:
        """Its tasks as Airflow has them."""
        path = f"/dags/{self.dag_id}/dagRuns/{quote(self.run_id, safe='')}/taskInstances"
        found: list[dict[str, Any]] = self._airflow.get(path)["task_instances"]
        return found

    def read_states(self) -> Counter[str]:
        """Number of tasks in each state."""
        return Counter(str(task["state"]) for task in self.list_tasks())

    def read_tries(self) -> dict[int, int]:
        """Tries of each task."""
        return {task["map_index"]: task["try_number"] for task in self.list_tasks()}

    def count_sent_again(self) -> int:
        """How many messages were lost or waited for too long, so that the scheduler sent them again."""
        return sum(
            self._airflow.get("/eventLogs", run_id=self.run_id, dag_id=self.dag_id, event=event)["total_entries"]
            for event in SENT_AGAIN
        )

    def find_most_at_once(self) -> int:
        """Most tasks that ran at the same time."""
        steps = [1 if mark.what == "begin" else -1 for mark in self.read()]
        return max(sum(steps[: end + 1]) for end in range(len(steps)))
