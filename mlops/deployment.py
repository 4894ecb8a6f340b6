"""Takes a version to the replicas by the DAG model_serving_pipeline, and follows its rollout to the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from mlops.airflow_api import ENDED, IN_MOTION, AirflowApi, TaskState
from mlops.errors import DeploymentError, LeftError, NoAnswerError
from mlops.gateway import list_known_models
from mlops.loop import SERVE, wait_for
from serving.errors import FrozenModelError, NoCandidateError, NothingNewError
from serving.fleet.access import OPEN, Access
from serving.registry.names import CHAMPION
from serving.rollout.order import STEPS
from serving.rollout.plan import choose_version

if TYPE_CHECKING:
    from serving.rollout.control import RolloutControl
    from serving.rollout.rows import Rollout

REFRESH_SECONDS = 120.0
"""Longest wait for a new dataset: Airflow and the replicas read the catalog every 30 s."""

FOLLOW_SECONDS = 2 * 3600.0
"""Longest wait for a rollout: a canary may be watched for an hour."""

SHOWN = ("plan", *STEPS, "approve")
"""Tasks of the DAG that a person follows."""

UNDECIDED = (None, "removed", "upstream_failed")
"""States of a task that never began."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Receives what happens: a line that stays, a task that has ended, and what is awaited now."""

    say: Callable[[str], None]
    end_task: Callable[[str, TaskState], None]
    show: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Place:
    """The stack in which a version is deployed: Airflow, the rollouts' rows and aliases, the gateway."""

    api: AirflowApi
    control: RolloutControl
    gateway_url: str
    access: Access = OPEN


class Deployment:
    """The deployment of one model.

    >>> Deployment(place, "iris", progress).deploy()
    '7'
    """

    def __init__(self, place: Place, model: str, progress: Progress) -> None:
        self._place = place
        self._model = model
        self._progress = progress

    def deploy(self, version: str | None = None, *, is_chosen: bool = True) -> str:
        """Serves a version, or follows the rollout of it that is under way; returns the version.

        Args:
            version: None for the newest that passed the gate.
            is_chosen: whether a person named the version, which takes precedence over a freeze.

        Raises:
            DeploymentError: the version is not served.
            FrozenModelError: no person named the version, and the model is frozen.
            LeftError: Ctrl-C; the rollout goes on.
        """
        self._reach_airflow()
        if version and not is_chosen:
            self._refuse_frozen(version)
        active = self._place.control.rows.find_active(self._model)
        if active is not None and self._is_alive(active):
            if self._is_wanted(active, version):
                self._progress.say(f"{active.name} is under way by {active.owner}: following it")
                return self._follow(_Watch(self._place, self._model, self._progress, active, _read_run_id(active)))
            what = "follows it" if active.kind == "rollback" else "takes its place"
            self._progress.say(
                f"{active.name} is under way ({active.state}) by {active.owner}: "
                f"version {version or 'that passed last'} {what}"
            )
        target = self._choose(version)
        if target is None:
            return self._read_champion() or ""
        self._await_catalog()
        run_id = self._place.api.trigger(SERVE, {"model": self._model, "version": version})
        self._progress.say(f"started     {SERVE} {run_id}: version {target}")
        return self._follow(_Watch(self._place, self._model, self._progress, None, run_id, target))

    def _reach_airflow(self) -> None:
        """Checks that Airflow answers and runs the DAG."""
        api = self._place.api
        try:
            is_known = SERVE in api.list_dags()
        except NoAnswerError as error:
            raise DeploymentError(
                f"Airflow at {api.url}: expected an answer, found none; `make up` starts the stack, "
                "and `mlops local up` the one without Docker"
            ) from error
        if not is_known:
            raise DeploymentError(
                f"Airflow at {api.url}: expected the DAG {SERVE}, found none; wait a minute after a start, "
                "then look for import errors there"
            )
        if api.read_dag(SERVE).is_paused:
            raise DeploymentError(
                f"Airflow at {api.url}: found the DAG {SERVE} paused, expected it to run; unpause it there, and repeat"
            )

    def _refuse_frozen(self, version: str) -> None:
        if freeze := self._place.control.log.find_freeze(self._model):
            raise FrozenModelError(
                f"{self._model}: found it frozen by {freeze.who} ({freeze.why}), expected no freeze; "
                f"`mlops unfreeze {self._model}`, or `mlops deploy {self._model} {version}`"
            )

    def _is_alive(self, active: Rollout) -> bool:
        """Whether a program still drives the rollout: between two tries of a task its lease may end."""
        if not active.is_expired:
            return True
        run_id = _read_run_id(active)
        return run_id is not None and self._place.api.read_run_state(SERVE, run_id) in IN_MOTION

    def _is_wanted(self, active: Rollout, version: str | None) -> bool:
        """Whether the rollout under way takes the wanted version, or a newer one that a person requested."""
        if active.kind != "rollout":
            return False
        wanted = version or self._place.control.find_newest_passed(self._model)
        if version is None and (wanted is None or int(wanted) < int(active.to_version)):
            return True
        return wanted == active.to_version

    def _choose(self, version: str | None) -> str | None:
        """The version to roll out; None if it serves already."""
        control = self._place.control
        try:
            return choose_version(control, self._model, version).target
        except NothingNewError:
            self._progress.say(f"{self._model}: version {self._read_champion()} serves already")
            return None
        except NoCandidateError as error:
            raise DeploymentError(self._explain_refusal(version)) from error

    def _explain_refusal(self, version: str | None) -> str:
        """Why no version of the model may be rolled out, or not this one."""
        model = self._model
        if version is None:
            return (
                f"{model}: found no version that passed the gate, expected one; `mlops train --dataset DATASET` trains "
                f"one. A version that waits for approval is deployed by its number: `mlops deploy {model} VERSION`"
            )
        tags = self._place.control.registry.read_tags(model, version)
        if tags is None:
            return f"{model}: found no version {version[:50]}, expected a registered one; `mlops models` lists them"
        verdict = f" ({tags['gate.verdict'][:200]})" if "gate.verdict" in tags else ""
        return (
            f"{model}: found version {version} with gate={tags.get('gate', 'none')}{verdict}, expected passed; "
            f"train again, or `mlops promote {model} {version}` serves it nevertheless"
        )

    def _await_catalog(self) -> None:
        """Waits until Airflow and the replicas know a dataset that was added a moment ago."""
        place, model = self._place, self._model

        def await_name(who: str, knows: Callable[[], bool]) -> None:
            self._progress.show(f"Waiting until {who} the model {model}; a new dataset takes 30 s")
            wait_for(lambda: knows() or None, f"that {who} the model {model}", REFRESH_SECONDS)

        await_name("Airflow offers", lambda: model in place.api.read_dag(SERVE).choices["model"])
        await_name("the replicas know", lambda: model in list_known_models(place.gateway_url, place.access))

    def _follow(self, watch: _Watch) -> str:
        try:
            wait_for(watch.is_over, f"the rollout of {self._model} to end", FOLLOW_SECONDS)
            return watch.judge()
        except KeyboardInterrupt as error:
            raise LeftError(
                f"{self._model}: the rollout goes on. `mlops deploy {self._model}` follows it again, `mlops models` "
                f"shows its state, Airflow shows its tasks: {watch.link}"
            ) from error

    def _read_champion(self) -> str | None:
        return self._place.control.registry.read(self._model).get(CHAMPION)


@dataclass(slots=True)
class _Watch:
    """A rollout that is looked at again and again: its row, and the tasks of its run if a run drives it."""

    place: Place
    model: str
    progress: Progress
    row: Rollout | None
    run_id: str | None
    target: str = ""
    told: set[str] = field(default_factory=set)
    tasks: list[TaskState] = field(default_factory=list)
    run_state: str | None = None

    @property
    def link(self) -> str:
        """Where a person sees the run."""
        if self.row and self.row.run_url:
            return self.row.run_url
        run = f"/dags/{SERVE}/runs/{quote(self.run_id, safe='')}" if self.run_id else ""
        return f"{self.place.api.url}{run}"

    def is_over(self) -> bool | None:
        """Looks once, and reports what is new.

        Raises:
            DeploymentError: a person has to approve the version.
        """
        if self.run_id:
            self.run_state = self.place.api.read_run_state(SERVE, self.run_id)
        self._read_row()
        self._tell_tasks()
        row = self.row
        if row and row.ended_at is None:
            self.progress.show(f"{row.name}: {row.state}{f', {row.reason}' if row.reason else ''}")
            if row.state == "awaiting approval":
                raise DeploymentError(
                    f"{row.name}: found it awaiting approval, expected a person's decision; decide in Airflow under "
                    f"Required actions: {self.link}. Then `mlops deploy {self.model}` follows it"
                )
        has_ended = row is not None and row.ended_at is not None
        is_quiet = not any(task.state == "running" for task in self.tasks)
        return self.run_state in ENDED or (has_ended and is_quiet) or None

    def judge(self) -> str:
        """Returns the version that serves at the end.

        Raises:
            DeploymentError: another one serves, or none; the message says why.
        """
        if self.row is None:
            champion = self.place.control.registry.read(self.model).get(CHAMPION)
            if champion == self.target:
                return champion
            ended = ", ".join(f"{task.name} {task.state}" for task in self.tasks if task.state in {"failed", "skipped"})
            raise DeploymentError(
                f"{self.model}: expected the rollout of version {self.target}, found none: {ended or self.run_state}; "
                f"the log of the run says why: {self.link}"
            )
        if self.row.state == "promoted":
            return self.row.to_version
        state = self.row.state if self.row.ended_at else f"its run {self.run_state} in the state {self.row.state}"
        raise DeploymentError(
            f"{self.row.name}: expected it to be promoted, found {state}: {self.row.reason or 'no reason'}; "
            f"its log: {self.link}. Train again, or `mlops deploy {self.model} {self.row.to_version}` repeats it"
        )

    def _read_row(self) -> None:
        rows = self.place.control.rows
        if self.row is not None:
            self.row = rows.read(self.row.rollout_id)
        elif (found := rows.find_active(self.model)) and _read_run_id(found) == self.run_id:
            self.row = found

    def _tell_tasks(self) -> None:
        if self.run_id is None:
            return
        found = self.place.api.list_tasks(SERVE, self.run_id)
        plans = {_read_index(task): task.label or "" for task in found if _read_step(task) == "plan"}
        others = {index for index, label in plans.items() if label and not label.startswith(f"{self.model}: ")}
        self.tasks = [task for task in found if _read_step(task) in SHOWN and _read_index(task) not in others]
        for task in self.tasks:
            if task.state in ENDED and task.state not in UNDECIDED and task.name not in self.told:
                self.told.add(task.name)
                self.progress.end_task(_read_step(task), task)


def _read_run_id(rollout: Rollout) -> str | None:
    """The run of the DAG that drives a rollout; None if another program does."""
    dag_id, _, run_id = rollout.owner.partition("/")
    return run_id if dag_id == SERVE else None


def _read_step(task: TaskState) -> str:
    return task.name.rpartition(".")[2].partition("[")[0]


def _read_index(task: TaskState) -> str:
    return task.name.partition("[")[2]
