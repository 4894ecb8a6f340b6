"""The steps of a rollout, run in order as the DAG does, killed anywhere, and two at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from serving import rollout
from serving.analysis import Rules
from serving.control import Control
from serving.errors import (
    BreachError,
    FleetError,
    InconclusiveError,
    NoCanaryError,
    NothingNewError,
    RegistryError,
    RolloutLostError,
    StandsAsideError,
)
from serving.plan import open_rollout
from serving.rollback import roll_back
from tests.unit.serving.rollout_fakes import Behaviour, Table, set_table

WINDOW_SECONDS = 20.0

STEPS: dict[str, Callable[[Control, int], object]] = {
    "validate_artifact": rollout.validate_artifact,
    "start_canary": rollout.start_canary,
    "wait_for_canary": rollout.wait_for_canary,
    "analyse_canary": lambda control, number: rollout.analyse_canary(control, number, Rules(), WINDOW_SECONDS),
    "promote": rollout.promote,
    "wait_for_fleet": rollout.wait_for_fleet,
    "verify_through_gateway": rollout.verify_through_gateway,
}


@pytest.fixture(autouse=True)
def quick_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child process has tests of its own; here it would take a second each time."""
    from serving.validation import Measured  # noqa: PLC0415
    from tests.unit.serving.rollout_fakes import read_holdout  # noqa: PLC0415

    measured = Measured(read_holdout("iris", "1").spec, 0.1, 0.1, 1.0, 10.0)
    monkeypatch.setattr(rollout, "validate", lambda candidate, **_: measured)


def run(table: Table, owner: str = "dag/run", version: str | None = None) -> int:
    """What the DAG does; a step that the first version does not need is skipped with those after it."""
    control = table.control(owner)
    number = open_rollout(control, "iris", version).rollout_id
    has_canary = True
    for name, step in STEPS.items():
        if not has_canary and name in {"wait_for_canary", "analyse_canary"}:
            continue
        try:
            step(control, number)
        except NoCanaryError:
            has_canary = False
    return number


def assert_settled(table: Table, champion: str, previous: str | None) -> None:
    expected = {"champion": champion} | ({"previous": previous} if previous else {})
    assert table.aliases.aliases == expected
    assert "canary_until" not in table.aliases.model_tags
    assert table.rows.find_active("iris") is None


def test_a_good_version_is_promoted_and_the_one_before_remembered() -> None:
    table = set_table("4", champion="3", previous="2")
    row = table.rows.read(run(table))
    assert_settled(table, "4", "3")
    assert (row.state, row.from_version, row.to_version) == ("promoted", "3", "4")
    assert table.aliases.tags["4"]["rollout"] == "promoted"
    assert table.log.moves[-1].why == "its canary did as well as version 3 in 0 live and 300 replayed requests"
    assert row.figures["canary"] == {"live": 0, "replayed": 300, "failures": 0, "p99_ms": 5.0, "nan_rows": 0}


def test_where_people_ask_enough_nothing_is_replayed() -> None:
    table = set_table("4", champion="3")
    table.stack.people_per_second = {"stable": 150.0, "canary": 20.0}
    row = table.rows.read(run(table))
    assert row.state == "promoted"
    assert row.figures["canary"]["replayed"] == 0
    assert row.figures["canary"]["live"] == 400
    assert row.figures["stable"]["live"] == 3000


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
        (Behaviour(nan_share=0.01), "no number"),
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
    assert table.aliases.tags["4"]["rollout"] == "aborted"
    assert cause in table.aliases.tags["4"]["rollout_reason"]
    told = json.loads(table.aliases.model_tags["rollout"])
    assert told["state"] == "aborted"
    assert cause in told["reason"]
    with pytest.raises(StandsAsideError, match="serving already"):
        run(table, "dag/next")


def test_five_times_the_latency_of_a_slow_model_is_ended() -> None:
    table = set_table("4", champion="3")
    table.stack.behaviours |= {"3": Behaviour(seconds=0.04), "4": Behaviour(seconds=0.2)}
    with pytest.raises(BreachError, match="latency"):
        run(table)
    assert_settled(table, "3", None)


def test_one_row_for_ever_is_not_the_fault_of_the_canary() -> None:
    table = set_table("4", champion="3")
    table.stack.person_rows = [[5.1, 3.5, 1.4, 0.2]]
    table.stack.people_per_second = {"stable": 150.0, "canary": 20.0}
    assert table.rows.read(run(table)).state == "promoted"


def test_too_few_requests_are_inconclusive_and_not_promoted() -> None:
    table = set_table("4", champion="3")
    control = replace(table.control(), gateway=Unreached())  # type: ignore[arg-type]
    number = open_rollout(control, "iris").rollout_id
    for name in ("validate_artifact", "start_canary", "wait_for_canary"):
        STEPS[name](control, number)
    with pytest.raises(InconclusiveError, match="expected at least 300 each"):
        STEPS["analyse_canary"](control, number)
    assert_settled(table, "3", None)
    assert table.aliases.tags["4"]["rollout"] == "inconclusive"


class Unreached:
    """A gateway whose answers come from somewhere else."""

    def predict(self, model: str, rows: list[Any], variant: str | None) -> list[Any]:
        from serving.gateway import Answer  # noqa: PLC0415

        return [Answer(200, "3", 0) for _ in rows]


def test_a_canary_that_the_pool_refuses_is_ended_with_its_reason() -> None:
    table = set_table("4", champion="3")
    table.stack.refused["4"] = "golden row 0 differs"
    with pytest.raises(BreachError, match="golden row 0 differs"):
        run(table)
    assert_settled(table, "3", None)


def test_a_canary_that_goes_away_is_ended() -> None:
    table = set_table("4", champion="3")
    control = table.control()
    number = open_rollout(control, "iris").rollout_id
    for name in ("validate_artifact", "start_canary", "wait_for_canary"):
        STEPS[name](control, number)
    table.stack.is_canary_absent = True
    with pytest.raises(BreachError, match="the canary pool: found None, expected version 4"):
        STEPS["analyse_canary"](control, number)
    assert_settled(table, "3", None)


def test_replicas_that_do_not_follow_bring_the_version_before_back() -> None:
    table = set_table("4", champion="3", previous="2")
    table.log.moves.clear()
    for before, version in ((None, "2"), ("2", "3")):
        table.log.record("iris", "promote", "ada", "before", from_version=before, to_version=version)
    table.stack.stuck = "3"
    with pytest.raises(BreachError, match="every replica to answer with version 4"):
        run(table)
    assert_settled(table, "3", "2")
    assert [(move.action, move.to_version) for move in table.log.moves[-2:]] == [("promote", "4"), ("rollback", "3")]


def test_a_first_version_that_replicas_do_not_take_stays_and_may_be_waited_for_again() -> None:
    table = set_table("1")
    table.stack.stuck = "0"
    with pytest.raises(FleetError):
        run(table)
    assert table.aliases.aliases == {"champion": "1"}
    table.stack.stuck = None
    run(table)
    assert_settled(table, "1", None)


def test_a_champion_that_was_moved_by_hand_meanwhile_counts_for_more() -> None:
    table = set_table("4", champion="3")
    control = table.control()
    number = open_rollout(control, "iris").rollout_id
    for name in ("validate_artifact", "start_canary", "wait_for_canary", "analyse_canary"):
        STEPS[name](control, number)
    table.aliases.aliases["champion"] = "1"
    with pytest.raises(BreachError, match="found version 1, expected 3; it was moved by hand"):
        STEPS["promote"](control, number)
    assert table.aliases.aliases == {"champion": "1"}
    assert "rollout" not in table.aliases.tags["4"]
    assert table.rows.find_active("iris") is None


class Killed(BaseException):
    """The end of a process."""


def kill_after(table: Table, calls: int) -> None:
    """Lets the process die at its n-th change of the registry, the rows or the log, before or after it."""
    left = [calls]

    def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
        def die_or_call(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return call(*arguments, **options)

        return die_or_call

    for part, names in (
        (table.aliases, ("move", "delete", "tag", "tag_model")),
        (table.rows, ("open", "write")),
        (table.log, ("record",)),
    ):
        for name in names:
            setattr(part, name, deadly(getattr(type(part), name).__get__(part)))


def revive(table: Table) -> None:
    for part in (table.aliases, table.rows, table.log):
        for name in ("move", "delete", "tag", "tag_model", "open", "write", "record"):
            part.__dict__.pop(name, None)


def count_changes() -> int:
    """How many changes a whole rollout makes."""
    for calls in range(1, 500):
        table = set_table("4", champion="3", previous="2")
        kill_after(table, calls)
        try:
            run(table)
        except Killed:
            continue
        return calls
    raise AssertionError("it never ended")


@pytest.mark.parametrize("owner", ["dag/run", "dag/another"], ids=["the same run", "another run"])
def test_killed_at_any_change_and_run_again_it_ends_with_the_new_version(owner: str) -> None:
    for calls in range(count_changes()):
        table = set_table("4", champion="3", previous="2")
        kill_after(table, calls)
        with pytest.raises(Killed):
            run(table)
        revive(table)
        assert table.stack.champion() in {"3", "4"}
        with suppress(NothingNewError):  # it was killed after the last change
            run(table, owner)
        assert_settled(table, "4", "3")
        promotions = [move for move in table.log.moves if move.to_version == "4"]
        assert len(promotions) == 1, (calls, table.log.moves)


def test_an_abort_that_is_killed_at_any_change_ends_with_the_old_version() -> None:
    def begin(calls: int) -> tuple[Table, bool]:
        table = set_table("4", champion="3", previous="2")
        table.stack.behaviours["4"] = Behaviour(failing_share=0.5)
        kill_after(table, calls)
        try:
            run(table)
        except Killed:
            revive(table)
            return table, True
        except BreachError:
            pass
        return table, False

    for calls in range(500):
        table, is_killed = begin(calls)
        if not is_killed:
            break
        with pytest.raises((BreachError, StandsAsideError)):
            run(table)
        assert_settled(table, "3", "2")
        assert table.aliases.tags["4"]["rollout"] == "aborted", calls
    assert calls > 10


def test_a_registry_that_is_away_for_a_while_ends_no_analysis() -> None:
    table = set_table("4", champion="3")
    control = table.control()
    number = open_rollout(control, "iris").rollout_id
    for name in ("validate_artifact", "start_canary", "wait_for_canary"):
        STEPS[name](control, number)
    calls = [0]
    tag_model = table.aliases.tag_model

    def refuse_once(*arguments: Any) -> None:
        calls[0] += 1
        if calls[0] == 2:
            raise RegistryError("found nobody")
        tag_model(*arguments)

    table.aliases.tag_model = refuse_once  # type: ignore[method-assign]
    STEPS["analyse_canary"](control, number)
    assert calls[0] > 2


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
    number = open_rollout(control, "iris").rollout_id
    for name in ("validate_artifact", "start_canary", "wait_for_canary"):
        STEPS[name](control, number)
    roll_back(table.control("ada@lab"), "iris", "all wrong")
    with pytest.raises(RolloutLostError, match="cancelled by the rollback of ada@lab"):
        STEPS["analyse_canary"](control, number)
    assert table.aliases.aliases["champion"] == "2"
    assert "challenger" not in table.aliases.aliases
    assert table.aliases.tags["3"]["rolled_back"] == "all wrong"
    assert table.aliases.tags["4"]["rollout"] == "aborted"


@pytest.mark.parametrize("last", ["promote", "wait_for_fleet"])
def test_a_rollback_of_a_rollout_that_has_moved_the_aliases_takes_that_one_back(last: str) -> None:
    table = set_table("4", champion="3", previous="2")
    table.log.moves.insert(0, replace(table.log.moves[0], from_version=None, to_version="2"))
    control = table.control()
    number = open_rollout(control, "iris").rollout_id
    for name, step in STEPS.items():
        step(control, number)
        if name == last:
            break
    done = roll_back(table.control("ada@lab"), "iris", "all wrong")
    assert (done.from_version, done.to_version, done.state) == ("4", "3", "rolled back")
    assert_settled(table, "3", "2")
    assert table.aliases.tags["4"]["rolled_back"] == "all wrong"


def test_what_a_failed_run_left_is_cleaned_up_without_blaming_the_version() -> None:
    table = set_table("4", champion="3")
    control = table.control()
    number = open_rollout(control, "iris").rollout_id
    STEPS["start_canary"](control, number)
    rollout.clean_up(control, number, "MLflow was away")
    assert_settled(table, "3", None)
    assert "rollout" not in table.aliases.tags["4"]
    assert "aborted" in rollout.clean_up(control, number, "again")
    run(table, "dag/next")
    assert_settled(table, "4", "3")
