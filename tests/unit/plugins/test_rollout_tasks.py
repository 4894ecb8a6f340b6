"""The tasks of the rollout DAGs; tests/e2e tests that a run waits for approval."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from airflow.providers.standard.exceptions import HITLTimeoutError
from airflow.sdk.exceptions import AirflowSkipException

from serving.errors import BreachError, StandsAsideError
from serving.rollout import approval
from serving.rollout.control import RolloutControl
from serving.rollout.plan import open_rollout
from tests.unit.serving.rollout_fakes import Table, set_table

PLUGINS = Path(__file__).parents[3] / "plugins"


@pytest.fixture
def table() -> Table:
    return set_table("4", champion="3")


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch, table: Table) -> ModuleType:
    """The module as Airflow imports it, with connections to the fakes."""
    monkeypatch.syspath_prepend(str(PLUGINS))
    module = importlib.import_module("rollout_tasks")
    monkeypatch.setattr(module, "send", lambda text: "")
    for name, value in {"URL": "http://mlflow", "USERNAME": "trainer", "PASSWORD": "x"}.items():
        monkeypatch.setenv(f"ROLLOUT_MLFLOW_{name}", value)

    @contextmanager
    def control_rollout() -> Iterator[RolloutControl]:
        yield table.control()

    monkeypatch.setattr(module, "control_rollout", control_rollout)
    return module


def answer(*options: str) -> dict[str, Any]:
    return {"chosen_options": list(options), "params_input": {}, "responded_by_user": {"id": "1", "name": "ada"}}


def test_a_task_without_needed_approval_is_skipped(tasks: ModuleType, table: Table) -> None:
    number = open_rollout(table.control(), "iris").rollout_id
    task = tasks.RolloutApproval(task_id="approve", rollout_id=number)
    with pytest.raises(AirflowSkipException, match="nobody has to approve"):
        task.execute({"params": {"require_approval": False}})


def test_an_approval_names_its_person(tasks: ModuleType, table: Table) -> None:
    number = open_rollout(table.control(), "iris").rollout_id
    approval.ask_person(table.control(), number, 3600)
    task = tasks.RolloutApproval(task_id="approve", rollout_id=number)
    assert task.execute_complete({}, answer("Approve")) == "ada"
    assert table.rows.read(number).reason == "its file is sound; approved by ada"


def test_a_looser_value_of_a_form_is_approved_by_another_person(tasks: ModuleType, table: Table) -> None:
    number = open_rollout(table.control(), "iris").rollout_id
    task = tasks.RolloutApproval(task_id="approve", rollout_id=number)
    form = {"minimum_requests": 60, "success_drop": 0.01}
    approval.ask_person(table.control(), number, 3600, ["minimum_requests 60 instead of 300"])
    context = {"params": form, "dag_run": SimpleNamespace(triggering_user_name="bob")}
    assert task.execute_complete(context, answer("Approve")) == "ada"
    assert (
        table.rows.read(number).reason == "its file is sound; approved by ada, with minimum_requests 60 instead of 300"
    )


def test_who_asked_for_a_looser_value_does_not_approve_it(tasks: ModuleType, table: Table) -> None:
    number = open_rollout(table.control(), "iris").rollout_id
    task = tasks.RolloutApproval(task_id="approve", rollout_id=number)
    approval.ask_person(table.control(), number, 3600, ["window_seconds 0 instead of 20"])
    context = {"params": {"window_seconds": 0}, "dag_run": SimpleNamespace(triggering_user_name="ada")}
    with pytest.raises(BreachError, match="another person must approve it"):
        task.execute_complete(context, answer("Approve"))
    assert table.rows.find_active("iris") is None


def test_a_version_that_a_form_forced_is_approved_by_another_person(tasks: ModuleType, table: Table) -> None:
    decision = {"dataset": "iris", "outcome": "promote", "reason": "forced", "metric": "accuracy", "score": 0.5}
    decision |= {"threshold": 0.9, "holdout_rows": 53, "trigger": "manual", "forced_by": "ada"}
    table.registry.tag("iris", "4", "gate.decision", json.dumps(decision))
    number = open_rollout(table.control(), "iris").rollout_id
    assert approval.needs_approval(table.control(), number)
    approval.ask_person(table.control(), number, 3600)
    task = tasks.RolloutApproval(task_id="approve", rollout_id=number)
    with pytest.raises(BreachError, match="another person must approve it"):
        task.execute_complete({"dag_run": SimpleNamespace(triggering_user_name=None)}, answer("Approve"))


def test_the_first_administrator_may_be_alone(tasks: ModuleType, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLOUT_ADMIN_USERNAME", "ada")
    number = open_rollout(table.control(), "iris").rollout_id
    approval.ask_person(table.control(), number, 3600)
    task = tasks.RolloutApproval(task_id="approve", rollout_id=number)
    context = {"params": {"window_seconds": 0}, "dag_run": SimpleNamespace(triggering_user_name="ada")}
    assert task.execute_complete(context, answer("Approve")) == "ada"


def test_a_rejection_fails_the_task_and_ends_the_rollout(tasks: ModuleType, table: Table) -> None:
    number = open_rollout(table.control(), "iris").rollout_id
    approval.ask_person(table.control(), number, 3600)
    task = tasks.RolloutApproval(task_id="approve", rollout_id=number)
    with pytest.raises(BreachError, match="rejected by ada"):
        task.execute_complete({}, answer("Reject"))
    assert table.rows.find_active("iris") is None


def test_no_decision_in_time_fails_the_task(tasks: ModuleType, table: Table) -> None:
    task = tasks.RolloutApproval(task_id="approve", rollout_id=1)
    with pytest.raises(HITLTimeoutError):
        task.execute_complete({}, {"error": "too late", "error_type": "timeout"})


def test_a_rollout_with_nothing_to_do_skips_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGINS))
    module = importlib.import_module("rollout_tasks")
    ti = SimpleNamespace(dag_id="d", run_id="r", log_url="http://airflow/dags/d/runs/r/tasks/t?try_number=1")
    dag_run = SimpleNamespace(triggering_user_name="ada")
    monkeypatch.setattr(module, "get_current_context", lambda: {"ti": ti, "dag_run": dag_run})
    monkeypatch.setattr("serving.rollout.control.connect", lambda *arguments: arguments)
    with module.control_rollout() as control:
        assert control == ("d/r", "http://airflow/dags/d/runs/r", "ada")
    with pytest.raises(AirflowSkipException, match="it serves already"), module.control_rollout():
        raise StandsAsideError("it serves already")


def test_the_notice_of_a_rollouts_end_has_a_link(tasks: ModuleType, table: Table) -> None:
    rollout = open_rollout(table.control(), "iris")
    told = tasks.describe_end(
        table.rows.write(rollout.rollout_id, lease_seconds=1, reason="a < b", run_url="http://a/r")
    )
    assert told == "*iris: rollout 1 (3 -&gt; 4)* validating\na &lt; b\n<http://a/r|open in Airflow>"
