"""The steps of a rollout, run in order as the DAG does, killed anywhere, and two at once."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from serving.comparison.analysis import Rules
from serving.errors import (
    BreachError,
    FleetError,
    InconclusiveError,
    RegistryError,
    RolloutLostError,
    StandsAsideError,
)
from serving.fleet.gateway import Answer
from serving.rollout import steps
from serving.rollout.plan import open_rollout
from serving.rollout.rollback import roll_back
from tests.unit.serving.fake_stack import Behaviour
from tests.unit.serving.rollout_fakes import set_table
from tests.unit.serving.rollout_run import STEPS, WINDOW_SECONDS, assert_settled, begin, run

pytestmark = pytest.mark.usefixtures("quick_validation")


def test_a_good_version_is_promoted_and_the_one_before_remembered() -> None:
    table = set_table("4", champion="3", previous="2")
    row = table.rows.read(run(table))
    assert_settled(table, "4", "3")
    assert (row.state, row.from_version, row.to_version) == ("promoted", "3", "4")
    assert table.registry.tags["4"]["rollout"] == "promoted"
    assert table.log.moves[-1].why == "its canary did as well as version 3 in 0 live and 300 replayed requests"
    assert row.figures["canary"] == {"live": 0, "replayed": 300, "failures": 0, "p99_ms": 5.0, "nan_rows": 0}


def test_however_many_people_ask_the_holdout_is_replayed() -> None:
    table = set_table("4", champion="3")
    table.stack.people_per_second = {"stable": 150.0, "canary": 20.0}
    row = table.rows.read(run(table))
    assert row.state == "promoted"
    assert row.figures["canary"]["replayed"] == 300
    assert row.figures["canary"]["live"] == 196, "a tenth, a half and all of the pool's 400, part by part"
    assert row.figures["stable"]["live"] == 3000 + 204


def test_the_first_version_ever_goes_straight_to_the_replicas() -> None:
    table = set_table("1")
    assert table.rows.read(run(table)).state == "promoted"
    assert_settled(table, "1", None)
    assert table.log.moves[-1].why == "the first version"


def test_without_a_canary_pool_a_version_goes_straight_to_the_replicas() -> None:
    table = set_table("2", has_canary_pool=False, champion="1")
    assert table.rows.read(run(table)).state == "promoted"
    assert_settled(table, "2", "1")


@pytest.mark.parametrize(
    ("behaviour", "cause"),
    [
        (Behaviour(failing_share=0.2), "errors"),
        (Behaviour(seconds=0.102), "latency"),
        (Behaviour(nan_share=0.01), "not a number"),
        (Behaviour(constant=1), "answers"),
    ],
    ids=["errors", "slow", "nan", "constant"],
)
@pytest.mark.parametrize("people", [0.0, 20.0], ids=["replayed", "live"])
def test_a_version_that_behaves_badly_is_ended_and_nobody_gets_it_any_more(
    behaviour: Behaviour, cause: str, people: float
) -> None:
    table = set_table("4", champion="3", previous="2")
    table.stack.behaviours["4"] = behaviour
    table.stack.people_per_second = {"stable": 9 * people, "canary": people}
    with pytest.raises(BreachError, match=cause):
        run(table)
    assert_settled(table, "3", "2")
    assert table.stack.clock() <= 60
    assert set(table.stack.seen["stable"]) <= {"3"}
    assert table.registry.tags["4"]["rollout"] == "aborted"
    assert cause in table.registry.tags["4"]["rollout_reason"]
    told = json.loads(table.registry.model_tags["rollout"])
    assert told["state"] == "aborted"
    assert cause in told["reason"]
    assert told["figures"].keys() == {"canary", "stable"}
    with pytest.raises(StandsAsideError, match="serving already"):
        run(table, "dag/next")


def test_five_times_the_latency_of_a_slow_model_is_ended() -> None:
    table = set_table("4", champion="3")
    table.stack.behaviours |= {"3": Behaviour(seconds=0.04), "4": Behaviour(seconds=0.2)}
    with pytest.raises(BreachError, match="latency"):
        run(table)
    assert_settled(table, "3", None)


def test_always_the_same_row_is_not_the_fault_of_the_canary() -> None:
    table = set_table("4", champion="3")
    table.stack.person_rows = [[5.1, 3.5, 1.4, 0.2]]
    table.stack.people_per_second = {"stable": 150.0, "canary": 20.0}
    assert table.rows.read(run(table)).state == "promoted"


def test_too_few_requests_are_inconclusive_and_not_promoted() -> None:
    table = set_table("4", champion="3")
    control = replace(table.control(), gateway=Unreached())  # type: ignore[arg-type]
    number = begin(control)
    with pytest.raises(InconclusiveError, match="expected at least 300 each"):
        STEPS["analyse_canary"](control, number)
    assert_settled(table, "3", None)
    assert table.registry.tags["4"]["rollout"] == "inconclusive"


class Unreached:
    """A gateway whose answers come from somewhere else."""

    def predict(self, model: str, rows: list[Any], variant: str | None) -> list[Any]:
        return [Answer(200, "3", 0) for _ in rows]

    def marked(self, word: str) -> Unreached:
        return self


def test_however_few_requests_are_asked_for_they_are_replayed() -> None:
    table = set_table("4", champion="3")
    control = table.control()
    number = begin(control)
    steps.analyse_canary(control, number, Rules(minimum_requests=1), WINDOW_SECONDS)
    assert table.rows.read(number).figures["canary"]["replayed"] == 50


def test_a_canary_that_the_pool_refuses_is_ended_with_its_reason() -> None:
    table = set_table("4", champion="3")
    table.stack.refused["4"] = "golden row 0 differs"
    with pytest.raises(BreachError, match="golden row 0 differs"):
        run(table)
    assert_settled(table, "3", None)


def test_replicas_that_do_not_follow_bring_the_version_before_back() -> None:
    table = set_table("4", champion="3", previous="2")
    table.log.moves.clear()
    for before, version in ((None, "2"), ("2", "3")):
        table.log.record("iris", "promote", "ada", "before", from_version=before, to_version=version)
    table.stack.stuck = "3"
    with pytest.raises(InconclusiveError, match="every replica to answer with version 4"):
        run(table)
    assert_settled(table, "3", "2")
    assert table.registry.tags["4"]["rollout"] == "inconclusive"
    assert [(move.action, move.to_version) for move in table.log.moves[-2:]] == [("promote", "4"), ("rollback", "3")]


def test_a_version_that_replicas_refuse_as_champion_is_to_blame() -> None:
    table = set_table("4", has_canary_pool=False, champion="3", previous="2")
    table.stack.stuck, table.stack.refused["4"] = "3", "golden row 0 differs"
    with pytest.raises(BreachError, match="refused: golden row 0 differs"):
        run(table)
    assert table.registry.aliases["champion"] == "3"
    assert table.registry.tags["4"]["rollout"] == "aborted"


def test_an_attempt_that_could_not_tell_leaves_an_earlier_verdict() -> None:
    table = set_table("4", champion="3")
    table.registry.tags["4"]["rollout"] = "aborted"
    control = table.control()
    number = open_rollout(control, "iris", "4").rollout_id
    control.abort(number, InconclusiveError("the canary pool: found no replica"))
    assert table.rows.read(number).state == "inconclusive"
    assert table.registry.tags["4"]["rollout"] == "aborted"


def test_a_first_version_that_replicas_do_not_take_stays_and_may_be_waited_for_again() -> None:
    table = set_table("1")
    table.stack.stuck = "0"
    with pytest.raises(FleetError):
        run(table)
    assert table.registry.aliases == {"champion": "1"}
    table.stack.stuck = None
    run(table)
    assert_settled(table, "1", None)


def test_a_champion_that_was_moved_by_hand_meanwhile_counts_for_more() -> None:
    table = set_table("4", champion="3")
    control = table.control()
    number = begin(control, "analyse_canary")
    table.registry.aliases["champion"] = "1"
    with pytest.raises(BreachError, match="found version 1, expected 3; it was moved by hand"):
        STEPS["promote"](control, number)
    assert table.registry.aliases == {"champion": "1"}
    assert "rollout" not in table.registry.tags["4"]
    assert table.rows.find_active("iris") is None


def test_a_registry_that_is_away_for_a_while_ends_no_analysis() -> None:
    table = set_table("4", champion="3")
    control = table.control()
    number = begin(control)
    calls = [0]
    tag_model = table.registry.tag_model

    def refuse_once(*arguments: Any) -> None:
        calls[0] += 1
        if calls[0] == 3:
            raise RegistryError("found nobody")
        tag_model(*arguments)

    table.registry.tag_model = refuse_once  # type: ignore[method-assign]
    STEPS["analyse_canary"](control, number)
    assert calls[0] > 3


def test_a_rollout_that_another_run_drives_stands_aside() -> None:
    table = set_table("4", champion="3")
    control = table.control()
    number = open_rollout(control, "iris").rollout_id
    table.rows.write(number, lease_seconds=60, owner="dag/another")
    for step in STEPS.values():
        with pytest.raises(RolloutLostError, match="driven by dag/another"):
            step(control, number)


def test_a_rollback_during_a_canary_cancels_it_and_goes_back() -> None:
    table = set_table("4", champion="3", previous="2")
    control = table.control()
    number = begin(control)
    roll_back(table.control("ada@lab"), "iris", "all wrong")
    with pytest.raises(RolloutLostError, match="cancelled by the rollback of ada@lab"):
        STEPS["analyse_canary"](control, number)
    assert table.registry.aliases["champion"] == "2"
    assert "challenger" not in table.registry.aliases
    assert table.registry.tags["3"]["rolled_back"] == "all wrong"
    assert table.registry.tags["4"]["rollout"] == "aborted"


@pytest.mark.parametrize("last", ["promote", "wait_for_fleet"])
def test_a_rollback_of_a_rollout_that_has_moved_the_aliases_takes_that_one_back(last: str) -> None:
    table = set_table("4", champion="3", previous="2")
    table.log.moves.insert(0, replace(table.log.moves[0], from_version=None, to_version="2"))
    begin(table.control(), last)
    done = roll_back(table.control("ada@lab"), "iris", "all wrong")
    assert (done.from_version, done.to_version, done.state) == ("4", "3", "rolled back")
    assert_settled(table, "3", "2")
    assert table.registry.tags["4"]["rolled_back"] == "all wrong"


def test_what_a_failed_run_left_is_cleaned_up_without_blaming_the_version() -> None:
    table = set_table("4", champion="3")
    control = table.control()
    number = open_rollout(control, "iris").rollout_id
    STEPS["start_canary"](control, number)
    steps.clean_up(control, number, "MLflow was away")
    assert_settled(table, "3", None)
    assert "rollout" not in table.registry.tags["4"]
    assert table.rows.read(number).state == "inconclusive"
    assert "inconclusive" in steps.clean_up(control, number, "again")
    run(table, "dag/next")
    assert_settled(table, "4", "3")
