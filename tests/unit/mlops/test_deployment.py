"""Deployments through an Airflow that takes one step of a real rollout, on fakes, at each look at its tasks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mlops import loop
from mlops.deployment import Deployment, Place, Progress
from mlops.errors import DeploymentError, LeftError, NoAnswerError
from mlops.loop import SERVE
from serving.errors import FrozenModelError
from serving.rollout.order import list_steps
from tests.unit.mlops.fake_deployment import FakeAirflow, Told
from tests.unit.serving.fake_stack import Behaviour
from tests.unit.serving.rollout_fakes import Table, set_table, skip_validation
from tests.unit.serving.rollout_run import begin


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop.time, "sleep", lambda seconds: None)
    monkeypatch.setattr("mlops.deployment.list_known_models", lambda url, access: {"iris"})
    skip_validation(monkeypatch)
    # A rollout that never ends is a failure of the test within a minute.
    monkeypatch.setattr("mlops.deployment.FOLLOW_SECONDS", 60.0)


@pytest.fixture
def table() -> Table:
    """Version 1 serves, and 2 has passed the gate."""
    return set_table("2", champion="1")


@pytest.fixture
def airflow(table: Table) -> FakeAirflow:
    return FakeAirflow(table)


def deploy(airflow: FakeAirflow, version: str | None = None, *, is_chosen: bool = True) -> tuple[str, Told]:
    told = Told()
    place = Place(airflow, airflow.table.control("ada@lab"), "http://gateway")  # type: ignore[arg-type]
    return Deployment(place, "iris", told.progress).deploy(version, is_chosen=is_chosen), told


def test_the_newest_version_is_served_and_every_step_is_shown(airflow: FakeAirflow, table: Table) -> None:
    served, told = deploy(airflow)
    assert served == table.registry.aliases["champion"] == "2"
    assert airflow.conf == {"model": "iris", "version": None}
    assert told.steps == [f"{name} success" for name in ("plan", *list_steps())]
    assert any("canary" in line for line in told.awaited)


def test_a_version_that_serves_already_starts_nothing(airflow: FakeAirflow) -> None:
    served, told = deploy(airflow, "1")
    assert (served, airflow.conf) == ("1", None)
    assert told.lines == ["iris: version 1 serves already"]


def test_a_canary_that_does_worse_is_a_failure_with_its_reason(airflow: FakeAirflow, table: Table) -> None:
    table.stack.people_per_second = {"stable": 40.0, "canary": 40.0}
    table.stack.behaviours["2"] = Behaviour(failing_share=0.5)
    with pytest.raises(DeploymentError, match=r"1 -> 2\): expected it to be promoted, found aborted: .*http://airflow"):
        deploy(airflow)
    assert table.registry.aliases["champion"] == "1"


@pytest.mark.parametrize(
    ("version", "tags", "finding"),
    [
        ("9", None, "found no version 9, expected a registered one"),
        ("3", {"gate": "rejected", "gate.verdict": "0.8 < 0.9"}, r"version 3 with gate=rejected \(0.8 < 0.9\)"),
        ("3", {}, "version 3 with gate=none, expected passed; train again, or `mlops promote iris 3`"),
    ],
)
def test_a_version_that_did_not_pass_the_gate_is_refused(
    airflow: FakeAirflow, version: str, tags: dict[str, str] | None, finding: str
) -> None:
    if tags is not None:
        airflow.table.registry.add(version, **tags)
        if not tags:
            airflow.table.registry.tags[version].clear()
    with pytest.raises(DeploymentError, match=finding):
        deploy(airflow, version)
    assert airflow.conf is None


def test_a_model_without_a_version_is_told_how_to_get_one() -> None:
    airflow = FakeAirflow(set_table())
    with pytest.raises(DeploymentError, match=r"no version that passed the gate.*`mlops train.*`mlops deploy iris VER"):
        deploy(airflow)


def test_a_frozen_model_is_deployed_only_by_the_number_that_a_person_types(airflow: FakeAirflow, table: Table) -> None:
    table.log.record("iris", "freeze", "bob", "the fair")
    with pytest.raises(FrozenModelError, match="the fair"):
        deploy(airflow)
    with pytest.raises(FrozenModelError, match="`mlops deploy iris 2`"):
        deploy(airflow, "2", is_chosen=False)
    assert airflow.conf is None
    assert deploy(airflow, "2")[0] == "2"


def test_a_rollout_under_way_is_followed_and_not_started_again(airflow: FakeAirflow, table: Table) -> None:
    airflow.rollout_id = begin(table.control(airflow.owner), "start_canary")
    del airflow.steps[:2]
    served, told = deploy(airflow)
    assert (served, airflow.conf) == ("2", None)
    assert told.lines == [f"iris: rollout 1 (1 -> 2) is under way by {airflow.owner}: following it"]
    assert told.steps[-1] == "verify_through_gateway success"


def test_a_rollout_that_a_person_drives_is_followed_by_its_row(table: Table) -> None:
    airflow, driver = FakeAirflow(table), table.control("bob@lab")
    number = begin(driver, "start_canary")
    steps = list(list_steps(window_seconds=20.0).values())[2:]

    told = Told()

    def look(line: str) -> None:
        told.awaited.append(line)
        steps.pop(0)(driver, number)

    place = Place(airflow, table.control("ada@lab"), "http://gateway")  # type: ignore[arg-type]
    progress = Progress(told.lines.append, lambda step, task: None, look)
    assert Deployment(place, "iris", progress).deploy() == "2"
    assert "by bob@lab: following it" in told.lines[0]


def test_another_version_that_is_requested_takes_the_place_of_the_one_under_way(
    airflow: FakeAirflow, table: Table
) -> None:
    begin(table.control("bob@lab"), "start_canary")
    table.registry.add("3")
    served, told = deploy(airflow, "3")
    assert served == "3"
    assert "under way (canary) by bob@lab: version 3 takes its place" in told.lines[0]
    assert table.rows.read(1).state == "aborted"


def test_a_run_between_two_tries_is_followed_though_its_lease_has_ended(airflow: FakeAirflow, table: Table) -> None:
    airflow.rollout_id = begin(table.control(airflow.owner), "promote")
    del airflow.steps[:5]
    table.stack.pause(1000)
    served, told = deploy(airflow)
    assert (served, airflow.conf) == ("2", None)
    assert "following it" in told.lines[0]


def test_the_rollout_of_a_dead_run_is_not_followed(airflow: FakeAirflow, table: Table) -> None:
    begin(table.control("bob@lab"), "start_canary")
    table.stack.pause(1000)
    served, _ = deploy(airflow)
    assert (served, airflow.conf) == ("2", {"model": "iris", "version": None})


def test_a_version_that_awaits_approval_ends_the_command_with_where_to_decide(
    airflow: FakeAirflow, table: Table
) -> None:
    airflow.before["promote"] = lambda: table.rows.write(
        airflow.rollout_id, lease_seconds=60, state="awaiting approval", reason="a person decides"
    )
    del airflow.steps[4:]
    airflow.steps.append(("promote", lambda control, number: None))
    with pytest.raises(DeploymentError, match=r"awaiting approval.*Required actions: http://airflow.*deploy iris`"):
        deploy(airflow)
    with pytest.raises(DeploymentError, match="awaiting approval"):
        deploy(airflow, "2")
    assert table.registry.aliases["champion"] == "1"


def test_ctrl_c_leaves_the_rollout_and_says_how_to_look(airflow: FakeAirflow, table: Table) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    airflow.before["analyse_canary"] = interrupt
    with pytest.raises(LeftError, match=r"the rollout goes on. `mlops deploy iris` follows it again"):
        deploy(airflow)
    assert table.rows.find_active("iris") is not None


def test_a_run_that_opens_no_rollout_is_a_failure_that_names_its_task(airflow: FakeAirflow, table: Table) -> None:
    airflow.before["plan"] = lambda: table.log.record("iris", "freeze", "bob", "just now")
    with pytest.raises(
        DeploymentError, match=r"expected the rollout of version 2, found none: roll_out.plan\[0\] skip"
    ):
        deploy(airflow)


def test_a_new_dataset_is_awaited_until_the_form_and_the_replicas_have_it(
    airflow: FakeAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    airflow.offers = [("tulips",), ("tulips",), ("tulips", "iris")]
    listed = iter([set[str](), {"iris"}])
    monkeypatch.setattr("mlops.deployment.list_known_models", lambda url, access: next(listed))
    served, told = deploy(airflow)
    assert served == "2"
    assert told.awaited[:2] == [
        f"Waiting until {who} the model iris; a new dataset takes 30 s"
        for who in ("Airflow offers", "the replicas know")
    ]
    assert next(listed, None) is None


@pytest.mark.parametrize(
    ("break_it", "finding"),
    [
        (lambda airflow: setattr(airflow, "dags", set()), f"expected the DAG {SERVE}, found none"),
        (lambda airflow: setattr(airflow, "is_paused", True), "paused, expected it to run; unpause it"),
    ],
)
def test_an_airflow_that_cannot_run_the_dag_is_said_before_anything_starts(
    airflow: FakeAirflow, break_it: Callable[[FakeAirflow], None], finding: str
) -> None:
    break_it(airflow)
    with pytest.raises(DeploymentError, match=finding):
        deploy(airflow)
    assert airflow.conf is None


def test_a_stack_that_does_not_run_is_started_by_make_up(airflow: FakeAirflow, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> set[str]:
        raise NoAnswerError("away")

    monkeypatch.setattr(airflow, "list_dags", refuse)
    with pytest.raises(DeploymentError, match="`make up` starts the stack"):
        deploy(airflow)
