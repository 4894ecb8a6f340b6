from __future__ import annotations

from collections.abc import Callable

import pytest

from mlops import loop
from mlops.airflow_api import TaskState
from mlops.errors import NoAnswerError, RunError


class FakeApi:
    """Airflow as a list of answers, one for each call; the last one repeats."""

    def __init__(self, *moments: tuple[str, dict[str, str]]) -> None:
        self._moments = list(moments)

    def read_run_state(self, dag_id: str, run_id: str) -> str | None:
        return {"run": self._moments[0][0]}[run_id]

    def list_tasks(self, dag_id: str, run_id: str) -> list[TaskState]:
        _, tasks = self._moments.pop(0) if len(self._moments) > 1 else self._moments[0]
        return [TaskState(name, state, None, 1.0) for name, state in tasks.items()]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop.time, "sleep", lambda seconds: None)


def test_each_ended_task_is_reported_once() -> None:
    api = FakeApi(
        ("running", {"train": "running", "gate": "scheduled"}),
        ("running", {"train": "success", "gate": "running"}),
        ("success", {"train": "success", "gate": "success", "rejected": "skipped"}),
    )
    told: list[str] = []
    loop.follow(api, "dag", "run", lambda dag_id, task: told.append(task.name))  # type: ignore[arg-type]
    assert told == ["train", "gate", "rejected"]


def test_a_failed_run_names_its_failed_tasks() -> None:
    api = FakeApi(("failed", {"train": "failed", "gate": "upstream_failed"}))
    with pytest.raises(RunError, match=r"found failed tasks: train; "):
        loop.follow(api, "dag", "run", lambda dag_id, task: None)  # type: ignore[arg-type]


def test_a_call_without_an_answer_is_retried() -> None:
    answers = iter([NoAnswerError("away"), None, "found"])

    def ask() -> str | None:
        answer = next(answers)
        if isinstance(answer, NoAnswerError):
            raise answer
        return answer

    assert loop.wait_for(ask, "an answer") == "found"


def test_a_wait_in_vain_is_an_error() -> None:
    with pytest.raises(RunError, match="expected a miracle within 0 s"):
        loop.wait_for(lambda: None, "a miracle", seconds=0)


@pytest.mark.parametrize("ask", [loop.find_version, loop.predict])
def test_a_model_without_an_answer_is_an_error(ask: Callable[[str], object]) -> None:
    with pytest.raises(NoAnswerError, match="found none"):
        ask("http://127.0.0.1:1")
