"""What may happen around a canary while it is watched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from ml_code.model_file.spec import Value
from serving.comparison.analysis import Rules
from serving.comparison.replays import is_same
from serving.errors import BreachError, FrozenModelError, InconclusiveError, RegistryError
from serving.fleet.gateway import Answer, Variant
from serving.rollout import steps
from serving.rollout.approval import approve
from serving.rollout.plan import open_rollout
from serving.rollout.promotion_log import Move
from tests.unit.serving.fake_registry import NOON
from tests.unit.serving.rollout_fakes import Table, judge, set_table
from tests.unit.serving.rollout_run import STEPS, assert_settled, begin, run

pytestmark = pytest.mark.usefixtures("quick_validation")


def test_the_word_of_a_rollout_is_new_and_gone_at_its_end() -> None:
    table, seen = set_table("5", champion="3"), set[str]()
    tag_model = table.registry.tag_model

    def look_on(model: str, key: str, value: str | None) -> None:
        if key == "replay_sha256" and value:
            seen.add(value)
        tag_model(model, key, value)

    table.registry.tag_model = look_on  # type: ignore[method-assign]
    for version in ("4", "5"):
        run(table, version=version)
        assert "replay_sha256" not in table.registry.model_tags
    assert len(seen) == 4, "one for the canary and one for the last look, in each rollout"
    assert all(len(mark) == 64 for mark in seen)


def test_a_champion_that_is_moved_by_hand_during_the_analysis_is_not_held_against_the_version() -> None:
    table = set_table("4", champion="3")
    control = table.control()
    number = begin(control)
    table.registry.aliases["champion"] = "1"
    with pytest.raises(BreachError, match="found version 1, expected 3; it was moved by hand"):
        STEPS["analyse_canary"](control, number)
    assert table.registry.aliases == {"champion": "1"}
    assert "rollout" not in table.registry.tags["4"]
    assert table.rows.find_active("iris") is None


def freeze(table: Table) -> None:
    table.rows.now += timedelta(minutes=1)
    table.log.moves.append(Move(NOON + timedelta(minutes=1), "iris", "freeze", None, None, "ada@lab", "the fair"))


def test_a_freeze_during_a_canary_keeps_it_from_being_promoted_and_blames_no_version() -> None:
    table = set_table("4", champion="3")
    control = table.control()
    number = begin(control, "analyse_canary")
    freeze(table)
    with pytest.raises(FrozenModelError, match=r"frozen by ada@lab meanwhile \(the fair\)"):
        STEPS["promote"](control, number)
    assert_settled(table, "3", None)
    assert "rollout" not in table.registry.tags["4"]


def test_a_person_who_approves_a_version_after_a_freeze_gets_it() -> None:
    table = set_table("4", champion="3")
    number = open_rollout(table.control(), "iris").rollout_id
    freeze(table)
    judge(table.control(), number)
    table.rows.write(number, lease_seconds=60, state="awaiting approval")
    approve(table.control(), number, "ada")
    STEPS["promote"](table.control(), number)
    assert table.registry.aliases["champion"] == "4"


def test_a_version_that_is_asked_for_after_a_freeze_is_promoted() -> None:
    table = set_table("4", champion="3")
    freeze(table)
    table.rows.now += timedelta(minutes=1)
    run(table, version="4")
    assert_settled(table, "4", "3")


def test_a_canary_that_goes_away_is_ended() -> None:
    table = set_table("4", champion="3")
    control = table.control()
    number = begin(control)
    table.stack.is_canary_absent = True
    with pytest.raises(InconclusiveError, match="the canary pool: found None, expected version 4"):
        STEPS["analyse_canary"](control, number)
    assert_settled(table, "3", None)
    assert table.registry.tags["4"]["rollout"] == "inconclusive"
    assert table.control().find_newest_passed("iris") == "4"


def test_a_canary_that_refuses_its_version_after_a_restart_is_a_breach() -> None:
    table = set_table("4", champion="3")
    control = table.control()
    number = begin(control)
    table.stack.refused["4"] = "two loads ended this process"
    with pytest.raises(BreachError, match="refuses version 4: two loads ended this process"):
        STEPS["analyse_canary"](control, number)
    assert table.registry.tags["4"]["rollout"] == "aborted"


def test_a_canary_that_is_never_reached_is_not_to_blame() -> None:
    table = set_table("4", champion="3")
    table.stack.is_canary_absent = True
    with pytest.raises(InconclusiveError, match="the canary pool to answer with version 4"):
        run(table)
    assert_settled(table, "3", None)
    assert table.control().find_newest_passed("iris") == "4"


def test_a_host_that_slept_opens_its_canary_again_and_goes_on() -> None:
    table = set_table("4", champion="3")
    control = table.control()
    number = begin(control)
    naps = iter([3600.0])

    def sleep_once(seconds: float) -> None:
        table.stack.pause(seconds)
        if next(naps, None):
            del table.registry.model_tags["canary_until"]  # a replica's clock says that its time is over

    STEPS["analyse_canary"](replace(control, pause=sleep_once), number)
    assert "canary_until" in table.registry.model_tags
    assert table.rows.read(number).state == "analysing"


@pytest.mark.parametrize(
    ("status", "error", "state"),
    [(502, InconclusiveError, "inconclusive"), (504, InconclusiveError, "inconclusive"), (500, BreachError, "aborted")],
)
def test_replays_that_nobody_answers_are_no_verdict_and_those_that_a_version_fails_are(
    status: int, error: type[BreachError], state: str
) -> None:
    table = set_table("4", champion="3")
    control = table.control()
    number = begin(control)
    predict = table.stack.predict

    def fail_canary(model: str, rows: Sequence[Sequence[Value]], variant: Variant | None) -> list[Answer]:
        answers = predict(model, rows, variant)
        return [replace(answer, status=status) for answer in answers] if variant == "canary" else answers

    table.stack.predict = fail_canary  # type: ignore[method-assign]
    with pytest.raises(error, match="50 more failures than of the stable version in 50 replayed rows"):
        STEPS["analyse_canary"](control, number)
    assert_settled(table, "3", None)
    assert table.registry.tags["4"]["rollout"] == state


def test_a_version_that_fails_for_one_sender_alone_is_neither_promoted_nor_condemned() -> None:
    table = set_table("4", champion="3")
    control = table.control()
    number = begin(control)
    table.stack.people_per_second, table.stack.people_addresses = {"stable": 90.0, "canary": 10.0}, 1
    answer = table.stack._answer

    def fail_people(row: Sequence[Value], pool: str, traffic: str) -> Answer:
        found = answer(row, pool, traffic)
        return replace(found, status=500) if (pool, traffic) == ("canary", "live") else found

    table.stack._answer = fail_people  # type: ignore[method-assign]
    with pytest.raises(InconclusiveError, match="errors: found 98 requests that failed from 1 of 1 senders"):
        STEPS["analyse_canary"](control, number)
    assert_settled(table, "3", None)
    assert table.registry.tags["4"]["rollout"] == "inconclusive"


def test_an_answer_is_the_files_but_for_rounding() -> None:
    assert is_same(500.0, 500.4)
    assert not is_same(500.0, 501.0)
    assert not is_same(1e-4, 2e-4, scale=5e-5)


def test_a_canary_replica_that_restarts_while_rows_are_replayed_is_waited_for() -> None:
    table = set_table("4", champion="3")
    control = table.control()
    number = begin(control)
    table.stack.is_canary_absent = True

    def come_back(seconds: float) -> None:
        table.stack.pause(seconds)
        table.stack.is_canary_absent = False

    steps.analyse_canary(replace(control, pause=come_back), number, Rules(), window_seconds=0)
    assert table.rows.read(number).figures["canary"]["replayed"] >= 300


def test_a_canary_that_closed_before_a_second_try_is_opened_again() -> None:
    table = set_table("4", champion="3")
    control = table.control()
    number = begin(control)
    del table.registry.model_tags["canary_until"]
    STEPS["analyse_canary"](control, number)
    assert table.rows.read(number).figures["canary"]["replayed"] == 300


def test_few_users_meet_a_version_at_first_and_all_of_the_pool_in_the_end() -> None:
    table = set_table("4", champion="3")
    control = table.control()
    number = begin(control)
    assert table.stack.share() == 10, "before anything was compared"
    shares: list[int] = []

    def note_share(seconds: float) -> None:
        table.stack.pause(seconds)
        shares.append(table.stack.share())

    STEPS["analyse_canary"](replace(control, pause=note_share), number)
    assert shares == sorted(shares)
    assert set(shares) == {10, 50, 100}
    assert shares.count(10) >= 3


def test_a_registry_that_is_away_holds_the_share_back_and_not_the_analysis() -> None:
    table = set_table("4", champion="3")
    control = table.control()
    number = begin(control)
    tag_model, refused = table.registry.tag_model, iter(range(2))

    def refuse_two(model: str, key: str, value: str | None) -> None:
        if key == "canary_share" and value == "50" and next(refused, None) is not None:
            raise RegistryError("MLflow is away")
        tag_model(model, key, value)

    table.registry.tag_model = refuse_two  # type: ignore[method-assign]
    STEPS["analyse_canary"](control, number)
    assert next(refused, None) is None
    assert table.stack.share() == 100
