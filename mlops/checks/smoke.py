"""The loop of a running stack, tried once in timed steps, from a training to a checked prediction."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from ml_code.errors import MlopsError
from mlops.airflow_api import AirflowApi, TaskState
from mlops.errors import LocalStackError, RunError
from mlops.loop import CLOCK_DIFFERENCE, ROW, SERVE, TRAIN, follow, wait_for
from serving.errors import ServingError
from serving.fleet.access import OPEN, Access
from serving.registry.names import CHAMPION
from serving.registry.writer import RegistryWriter

MODEL = "iris"
CLASSES = (0, 1, 2)
NO_ROW = [["a flower"]]

_NO_MODEL = 503


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the trial; `is_ok` is None if an earlier step failed and this one was not tried."""

    name: str
    is_ok: bool | None
    seconds: float
    found: str


@dataclass(frozen=True, slots=True)
class Target:
    """The stack under trial."""

    api: AirflowApi
    registry: RegistryWriter
    gateway_url: str
    access: Access = OPEN


class Smoke:
    """One trial.

    The trial does not harm the serving version. The gate should reject a training on the same rows, which leaves the
    champion. The trial then requests the champion's rollout, and the rollout finds that it serves already.

    >>> Smoke(target).run(print)
    [Step(name='reach', is_ok=True, seconds=0.1, found='Airflow, MLflow and the gateway answer'), ...]
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._tasks: dict[str, TaskState] = {}
        self._rollouts_before: set[str] = set()
        self._version = ""

    def run(self, say: Callable[[Step], None]) -> list[Step]:
        """Runs the steps one after another until one fails, and reports each."""
        steps = []
        for step in self._take_steps():
            say(step)
            steps.append(step)
        return steps

    def _take_steps(self) -> Iterator[Step]:
        has_failed = False
        steps = (self._reach, self._train, self._gate, self._deploy, self._predict, self._check)
        for take in steps:
            name = take.__name__.removeprefix("_")
            if has_failed:
                yield Step(name, None, 0.0, "not tried")
                continue
            started = time.monotonic()
            try:
                found = take()
            except (LocalStackError, MlopsError, ServingError, httpx.HTTPError) as error:
                has_failed, found = True, (str(error).splitlines() or [type(error).__name__])[0]
            yield Step(name, not has_failed, round(time.monotonic() - started, 1), found)

    def _reach(self) -> str:
        missing = {TRAIN, SERVE} - self._target.api.list_dags()
        if missing:
            raise RunError(f"Airflow: expected the DAGs {TRAIN} and {SERVE}, found no {', '.join(sorted(missing))}")
        self._target.registry.read(MODEL)
        status = self._ask(ROW).status_code
        if status not in {httpx.codes.OK, _NO_MODEL}:
            raise RunError(f"/predict: expected status 200, or 503 before the first model, found {status}")
        return "Airflow, MLflow and the gateway answer"

    def _train(self) -> str:
        api = self._target.api
        self._since = datetime.now(UTC) - CLOCK_DIFFERENCE
        self._rollouts_before = set(api.list_runs(SERVE, self._since))
        run_id = api.trigger(TRAIN, {"dataset": MODEL})
        follow(api, TRAIN, run_id, self._remember)
        return f"{TRAIN} {run_id}"

    def _gate(self) -> str:
        verdict = self._find_task("gate")
        if verdict.state != "success":
            raise RunError(f"gate: expected success, found {verdict.state}; Airflow has its log")
        return verdict.label or "judged"

    def _deploy(self) -> str:
        api = self._target.api
        if self._find_task("promoted").state == "success":
            run_id = wait_for(self._find_rollout, f"a run of {SERVE}")
            follow(api, SERVE, run_id, self._remember)
        elif self._has_passed(champion := self._read_champion()):
            follow(api, SERVE, api.trigger(SERVE, {"model": MODEL, "version": champion}), self._remember)
        else:
            self._version = champion
            return f"version {champion}, which a person promoted, is not rolled out again"
        self._version = self._read_champion()
        return f"version {self._version}"

    def _find_rollout(self) -> str | None:
        """The run of the rollout that the training started."""
        return next(iter(set(self._target.api.list_runs(SERVE, self._since)) - self._rollouts_before), None)

    def _predict(self) -> str:
        answer = self._ask(ROW)
        if not answer.is_success:
            raise RunError(f"/predict: expected status 200, found {answer.status_code}: {answer.text[:200]}")
        predictions = _read_predictions(answer)
        if len(predictions) != 1 or predictions[0] not in CLASSES:
            raise RunError(f"/predict: expected one class of {CLASSES}, found {predictions}")
        return f"{ROW} -> {predictions}"

    def _check(self) -> str:
        found = self._ask(ROW).headers.get("X-Model-Version")
        if found != self._version:
            raise RunError(f"/predict: expected version {self._version}, the champion, to answer, found {found}")
        status = self._ask(NO_ROW).status_code
        if status not in {httpx.codes.BAD_REQUEST, httpx.codes.UNPROCESSABLE_ENTITY}:
            raise RunError(f"/predict: expected status 400 or 422 to {NO_ROW}, found {status}")
        return f"version {found} answers; a row of words is refused"

    def _ask(self, rows: object) -> httpx.Response:
        url, access = f"{self._target.gateway_url}/predict", self._target.access
        return httpx.post(url, json=rows, timeout=30, headers=access.headers, verify=access.verify)

    def _has_passed(self, version: str) -> bool:
        tags = self._target.registry.read_tags(MODEL, version) or {}
        return tags.get("gate") == "passed"

    def _read_champion(self) -> str:
        champion = self._target.registry.read(MODEL).get(CHAMPION)
        if champion is None:
            raise RunError(f"{MODEL}: expected a champion, found none; the gate's verdict says why no version passed")
        return champion

    def _remember(self, _: str, task: TaskState) -> None:
        self._tasks[task.name.rpartition(".")[2].partition("[")[0]] = task

    def _find_task(self, name: str) -> TaskState:
        if name not in self._tasks:
            raise RunError(f"{TRAIN}: expected a task {name}, found {', '.join(self._tasks)}")
        return self._tasks[name]


def _read_predictions(answer: httpx.Response) -> list[object]:
    try:
        return list(answer.json()["predictions"])
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"/predict: expected predictions, found {answer.text[:100]!r}") from error


def is_passed(steps: Sequence[Step]) -> bool:
    """Whether every step was tried and none failed."""
    return all(step.is_ok for step in steps)


def describe(step: Step) -> Mapping[str, Any]:
    """A step as a JSON object."""
    return {"step": step.name, "ok": step.is_ok, "seconds": step.seconds, "found": step.found}
