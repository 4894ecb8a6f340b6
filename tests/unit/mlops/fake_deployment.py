"""An Airflow that deploys in memory, and what its user is told."""

from __future__ import annotations

from collections.abc import Callable

from mlops.airflow_api import DagState, TaskState
from mlops.deployment import Progress
from mlops.loop import SERVE
from serving.errors import ServingError, StandsAsideError
from serving.rollout.order import list_steps
from serving.rollout.plan import open_rollout
from tests.unit.serving.rollout_fakes import Table

RUN = "manual__now"


class FakeAirflow:
    """The DAG of rollouts on a table: each look at the tasks takes a step."""

    url = "http://airflow"

    def __init__(self, table: Table) -> None:
        self.table = table
        self.owner = f"{SERVE}/{RUN}"
        self.dags = {SERVE}
        self.is_paused = False
        self.offers = [("iris",)]
        self.conf: dict[str, object] | None = None
        self.before: dict[str, Callable[[], object]] = {}
        self.states: dict[str, str] = {}
        self.run_state = "running"
        self.steps = list(list_steps(window_seconds=20.0).items())
        self.rollout_id = 0

    def list_dags(self) -> set[str]:
        return self.dags

    def read_dag(self, dag_id: str) -> DagState:
        offered = self.offers.pop(0) if len(self.offers) > 1 else self.offers[0]
        return DagState(self.is_paused, {"model": offered})

    def trigger(self, dag_id: str, conf: dict[str, object]) -> str:
        self.conf = conf
        return RUN

    def read_run_state(self, dag_id: str, run_id: str) -> str | None:
        return {RUN: self.run_state}.get(run_id)

    def list_tasks(self, dag_id: str, run_id: str) -> list[TaskState]:
        if self.run_state == "running":
            self._take_step()
        return [TaskState(f"roll_out.{name}[0]", state, None, 1.0) for name, state in self.states.items()]

    def _take_step(self) -> None:
        control = self.table.control(self.owner)
        name, step = ("plan", None) if not self.rollout_id else self.steps.pop(0)
        self.before.get(name, lambda: None)()
        try:
            if step is None:
                version = self.conf and self.conf["version"]
                self.rollout_id = open_rollout(control, "iris", str(version) if version else None).rollout_id
            else:
                step(control, self.rollout_id)
            self.states[name] = "success"
        except StandsAsideError:
            self.states[name] = "skipped"
            self.run_state = "success" if name == "plan" else "running"
        except ServingError:
            self.states[name] = self.run_state = "failed"
        if not self.steps and self.run_state == "running":
            self.run_state = "success"


class Told:
    """What a person has seen."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.steps: list[str] = []
        self.awaited: list[str] = []

    @property
    def progress(self) -> Progress:
        return Progress(
            self.lines.append, lambda step, task: self.steps.append(f"{step} {task.state}"), self.awaited.append
        )
