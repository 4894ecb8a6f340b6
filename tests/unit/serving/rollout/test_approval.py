"""A person decides, with what they need to see."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ml_code.datasets import CATALOG
from ml_code.gate.decision import Decision
from serving.errors import BreachError, RolloutLostError, UnderWayError
from serving.rollout import approval, steps
from serving.rollout.control import RolloutControl
from serving.rollout.plan import open_rollout
from tests.unit.serving.rollout.test_steps_killed import Killed, kill_after, revive
from tests.unit.serving.rollout_fakes import Table, set_table

WAIT_SECONDS = 72 * 3600.0
IRIS = (CATALOG / "iris.toml").read_text()
DECISION = Decision("iris", "promote", "0.97 >= 0.85", "accuracy", 0.97, 0.85, 52, "manual", "3", 0.95)
FIGURES = {
    "canary": {"live": 310, "replayed": 0, "failures": 1, "p99_ms": 4.5, "nan_rows": 0},
    "stable": {"live": 2790, "replayed": 0, "failures": 2, "p99_ms": 4.0, "nan_rows": 0},
}


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"URL": "http://mlflow", "USERNAME": "trainer", "PASSWORD": "x"}.items():
        monkeypatch.setenv(f"ROLLOUT_MLFLOW_{name}", value)
    monkeypatch.setenv("ROLLOUT_MLFLOW_PUBLIC_URL", "http://localhost:5000")


@pytest.fixture
def table() -> Table:
    table = set_table("4", champion="3")
    table.registry.tags["4"]["gate.decision"] = DECISION.to_json()
    return table


@pytest.fixture
def control(table: Table) -> RolloutControl:
    return table.control()


@pytest.fixture
def number(control: RolloutControl) -> int:
    number = open_rollout(control, "iris").rollout_id
    steps.start_canary(control, number)
    control.rows.write(number, lease_seconds=60, figures=FIGURES)
    return number


def test_nobody_is_asked_by_default(control: RolloutControl, number: int) -> None:
    assert not approval.needs_approval(control, number)


def test_a_person_is_asked_where_the_run_the_gate_or_the_catalog_says_so(
    table: Table, control: RolloutControl, number: int, tmp_path: Path
) -> None:
    assert approval.needs_approval(control, number, is_asked_for=True)
    table.registry.tags["4"]["gate"] = "needs_approval"
    assert approval.needs_approval(control, number)
    table.registry.tags["4"]["gate"] = "passed"
    (tmp_path / "iris.toml").write_text(f"require_approval = true\n{IRIS}")
    of_catalog = RolloutControl(
        *(getattr(control, name) for name in list(RolloutControl.__dataclass_fields__)[:7]), catalog_dir=tmp_path
    )
    assert approval.needs_approval(of_catalog, number)


def test_the_question_has_both_models_the_canary_and_links(control: RolloutControl, number: int) -> None:
    headline, text = approval.ask_person(control, number, WAIT_SECONDS)
    assert headline == "iris: version 3 -> 4?"
    for expected in ("| new version | 0.97 |", "| champion | 0.95 |", "| requests of people | 310 | 2790 |"):
        assert expected in text
    assert "(http://localhost:5000/#/models/iris/versions/4)" in text


def test_nobody_gets_the_challenger_while_a_person_thinks(table: Table, control: RolloutControl, number: int) -> None:
    approval.ask_person(control, number, WAIT_SECONDS)
    assert table.registry.aliases == {"champion": "3"}
    table.rows.now += timedelta(hours=24)
    with pytest.raises(UnderWayError, match="awaiting approval"):
        open_rollout(table.control("dag/another"), "iris")


def test_an_approved_version_goes_on_and_has_passed(table: Table, control: RolloutControl, number: int) -> None:
    approval.ask_person(control, number, WAIT_SECONDS)
    approval.approve(control, number, "ada")
    steps.promote(control, number)
    assert table.registry.aliases["champion"] == "4"
    assert table.log.moves[-1].why.endswith("; approved by ada")
    assert table.registry.tags["4"]["approved_by"] == "ada"
    assert table.registry.tags["4"]["gate"] == "passed"


@pytest.mark.parametrize("why", ["a form asks for it", "a form forced it", "the person has not decided"])
def test_a_version_is_not_promoted_where_the_question_was_marked_as_answered(
    table: Table, control: RolloutControl, number: int, why: str
) -> None:
    """Who may retry a task may also mark `approve` as successful, in Airflow's page and API."""
    if why == "a form forced it":
        table.registry.tags["4"]["gate.decision"] = replace(DECISION, forced_by="eve").to_json()
    elif why == "the person has not decided":
        approval.ask_person(control, number, WAIT_SECONDS)
    with pytest.raises(BreachError, match="not approved: found no decision of a person"):
        steps.promote(control, number, is_asked_for=why == "a form asks for it")
    assert table.registry.aliases == {"champion": "3"}
    assert control.rows.read(number).state == "aborted"
    assert control.rows.list_barred("iris") == frozenset()


def test_a_version_is_not_promoted_where_its_canary_was_marked_as_judged(
    table: Table, control: RolloutControl, number: int
) -> None:
    control.rows.write(number, lease_seconds=60, figures={})
    approval.ask_person(control, number, WAIT_SECONDS)
    approval.approve(control, number, "ada")
    with pytest.raises(BreachError, match="not judged: found no figures of a canary"):
        steps.promote(control, number)
    assert table.registry.aliases == {"champion": "3"}


def test_who_approved_a_version_is_logged_by_a_second_try_too(
    table: Table, control: RolloutControl, number: int
) -> None:
    approval.ask_person(control, number, WAIT_SECONDS)
    approval.approve(control, number, "ada")
    kill_after(table, 2)
    with pytest.raises(Killed):
        steps.promote(control, number)
    revive(table)
    steps.promote(control, number)
    assert table.log.moves[-1].why.endswith("; approved by ada")


def test_a_rejected_version_is_not_picked_again(table: Table, control: RolloutControl, number: int) -> None:
    approval.ask_person(control, number, WAIT_SECONDS)
    assert str(approval.reject(control, number, "ada")) == "rejected by ada"
    assert table.registry.tags["4"]["rollout"] == "aborted"
    assert table.control().find_newest_passed("iris") == "3"
    with pytest.raises(RolloutLostError, match="rejected by ada"):
        steps.promote(control, number)
