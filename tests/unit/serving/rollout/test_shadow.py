"""The steps of a shadow, on fakes, as the DAG takes them."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from ml_code.gate.decision import Decision
from serving.comparison.agreement import Agreement
from serving.comparison.analysis import Rules
from serving.comparison.experiment import Losses
from serving.errors import BreachError, InconclusiveError, MovedByHandError, RolloutLostError, UnderWayError
from serving.rollout import ab_test, shadow, steps
from serving.rollout.ab_test import Terms
from serving.rollout.fence import find_expected
from serving.rollout.plan import open_rollout
from serving.rollout.rollback import promote_by_hand, roll_back
from serving.rollout.shadow import Pairs
from tests.unit.serving.rollout_fakes import Table, promote_in_turn, set_table

pytestmark = pytest.mark.usefixtures("quick_validation")

TERMS = Terms(margin=0.05, share=0.5, minimum_rows=1000, maximum_hours=24)


def label(better: float, worse: float, rows: int = 4000, agreement: Agreement | None = None) -> shadow.ReadPairs:
    """Pairs of which the version alone is right in one share, and the champion alone in another."""
    places = np.arange(rows)
    differences = np.where(places < rows * better, -1.0, np.where(places >= rows * (1 - worse), 1.0, 0.0))
    return lambda row: Pairs(Losses(differences, np.arange(rows)), 1.0, agreement)


def start(table: Table, owner: str = "dag/run") -> int:
    control = table.control(owner)
    number = ab_test.open_test(control, "iris", kind="shadow").rollout_id
    steps.validate_artifact(control, number)
    steps.start_canary(control, number)
    steps.wait_for_canary(control, number)
    steps.analyse_canary(control, number, Rules(), 4.0)
    return number


def look(table: Table, number: int, read: shadow.ReadPairs, terms: Terms = TERMS) -> bool:
    return shadow.look(table.control(), number, terms, read)


@pytest.fixture
def table() -> Table:
    return set_table("4", champion="3")


@pytest.mark.parametrize(
    ("better", "worse", "verdict", "state"),
    [(0.08, 0.02, "better", "compared"), (0.02, 0.08, "worse", "aborted"), (0.001, 0.001, "equivalent", "compared")],
    ids=["better", "worse", "equivalent"],
)
def test_labels_tell_the_better_version_while_the_champion_answers_everybody(
    table: Table, better: float, worse: float, verdict: str, state: str
) -> None:
    number = start(table)
    table.stack.people_per_second = {"stable": 10.0, "canary": 10.0}
    table.stack.pause(10)
    assert set(table.stack.seen["canary"]) == {"3"}
    assert look(table, number, label(better, worse))
    assert ab_test.conclude(table.control(), number) == verdict
    row = table.rows.read(number)
    assert (row.kind, row.state, row.figures["experiment"]["rows"]) == ("shadow", state, 4000)
    assert verdict in row.reason
    assert table.registry.aliases == {"champion": "3"}
    assert not {"shadow_until", "canary_until", "canary_share"} & table.registry.model_tags.keys()
    assert table.control().find_newest_passed("iris") == "3"
    assert ab_test.conclude(table.control(), number) == verdict, "a step that is repeated"


def test_the_canary_pool_holds_it_as_a_shadow_until_the_time_is_over(table: Table) -> None:
    number = start(table)
    alike = label(0.05, 0.05, 300)
    assert not look(table, number, alike)
    assert (table.stack.shadow(), table.stack.challenger()) == ("4", None)
    assert find_expected(table.control(), "iris")["shadow"] == "4"
    table.rows.now += timedelta(hours=24)
    assert look(table, number, alike)
    assert ab_test.conclude(table.control(), number) == "undecided"
    assert table.stack.shadow() is None


def test_each_look_renews_the_time_until_which_replicas_hold_it(table: Table) -> None:
    number = start(table)
    table.registry.model_tags["shadow_until"] = "past"
    look(table, number, label(0.05, 0.05, 300))
    assert table.registry.model_tags["shadow_until"] != "past"
    assert "canary_until" not in table.registry.model_tags


def test_a_verdict_waits_for_the_rows_that_were_asked_for(table: Table) -> None:
    number = start(table)
    assert not look(table, number, label(0.5, 0.1, 900))
    assert table.rows.read(number).figures["experiment"]["verdict"] == "better"


def test_without_labels_the_share_of_like_predictions_is_shown(table: Table) -> None:
    number = start(table)
    table.stack.shadow_rows = 700
    assert not look(table, number, label(0, 0, 99, Agreement(700, 0.95, 0.0213)))
    row = table.rows.read(number)
    assert row.reason == (
        "undecided: fewer than 100 rows that both versions predicted have a label; 95.0% of 700 rows are predicted "
        "alike, and the index of their scores is 0.021"
    )
    assert row.figures["agreement"] == {"rows": 700, "alike": 0.95, "psi": 0.0213}
    assert row.figures["shadow"] == {"rows": 700, "failed": 0}


def test_the_spread_that_the_interval_is_made_for_stays_that_of_the_first_labels(table: Table) -> None:
    number = start(table)
    look(table, number, label(0.1, 0.1, 1000))
    look(table, number, label(0.01, 0.01, 1100))
    assert table.rows.read(number).figures["experiment"]["variance"] == pytest.approx(0.2)


@pytest.mark.parametrize("named", [None, "2"], ids=["withdrawn", "replaced"])
def test_one_that_is_withdrawn_or_replaced_ends_without_a_verdict(table: Table, named: str | None) -> None:
    number = start(table)
    table.registry.aliases.pop("shadow")
    if named:
        table.registry.aliases["shadow"] = named
    with pytest.raises(InconclusiveError, match=f"the alias shadow: found {named or 'none'}, expected version 4"):
        look(table, number, label(0.5, 0))
    assert table.rows.read(number).state == "inconclusive"
    assert table.control().find_newest_passed("iris") == "4"
    assert "shadow_until" not in table.registry.model_tags or named == "2"


def test_one_whose_version_is_deleted_ends_without_a_verdict(table: Table) -> None:
    number = start(table)
    table.registry.forget("4")
    with pytest.raises(InconclusiveError, match="found none"):
        look(table, number, label(0.5, 0))
    assert table.rows.read(number).state == "inconclusive"
    assert table.stack.shadow() is None


def test_a_champion_that_is_moved_by_hand_ends_it(table: Table) -> None:
    number = start(table)
    table.registry.aliases["champion"] = "2"
    with pytest.raises(MovedByHandError, match="found version 2, expected 3"):
        look(table, number, label(0.5, 0))
    assert table.stack.shadow() is None
    assert table.registry.aliases == {"champion": "2"}


@pytest.mark.parametrize(("rows", "failed", "ends"), [(1000, 2, False), (1000, 25, True), (0, 3, True)])
def test_a_version_that_fails_rows_is_to_blame(table: Table, rows: int, failed: int, ends: bool) -> None:
    number = start(table)
    table.stack.shadow_rows, table.stack.shadow_failures = rows, failed
    if not ends:
        assert not look(table, number, label(0, 0, 99))
        return
    with pytest.raises(BreachError, match=f"errors: found {failed} of {rows + failed} rows"):
        look(table, number, label(0.5, 0))
    assert table.rows.read(number).state == "aborted"


def test_a_version_that_the_pool_refuses_is_to_blame(table: Table) -> None:
    number = start(table)
    table.stack.refused["4"] = "too large"
    with pytest.raises(BreachError, match="refuses version 4: too large"):
        look(table, number, label(0.5, 0))
    assert table.rows.read(number).state == "aborted"


def test_a_pool_without_it_for_a_while_is_no_verdict(table: Table) -> None:
    number = start(table)
    table.stack.is_canary_absent = True
    assert not look(table, number, label(0, 0, 99))
    assert table.rows.read(number).state == "comparing"


def test_a_test_and_a_shadow_stand_aside_for_each_other(table: Table) -> None:
    number = start(table)
    assert ab_test.open_test(table.control(), "iris", kind="shadow").rollout_id == number
    with pytest.raises(UnderWayError, match="expected nothing under way"):
        ab_test.open_test(table.control(), "iris", kind="ab")
    with pytest.raises(UnderWayError, match="expected nothing under way"):
        ab_test.open_test(table.control("dag/another"), "iris", kind="shadow")


def test_a_newer_version_waits_for_its_end_and_a_requested_one_takes_its_place(table: Table) -> None:
    number = start(table)
    table.registry.add("5", gate="passed")
    with pytest.raises(UnderWayError, match="waits for its end"):
        open_rollout(table.control("dag/event"), "iris")
    taken = open_rollout(table.control("dag/form"), "iris", "5")
    assert (taken.kind, taken.to_version) == ("rollout", "5")
    assert "shadow" not in table.registry.aliases
    with pytest.raises(RolloutLostError):
        look(table, number, label(0.5, 0))


def test_a_rollback_and_a_promotion_by_hand_end_it(table: Table) -> None:
    table = promote_in_turn("2", "3")
    for number, move in enumerate((roll_back, lambda *of: promote_by_hand(*of[:2], "3", of[2]))):
        table.registry.add(str(7 + number))
        started = start(table, f"dag/{number}")
        move(table.control("ada@lab"), "iris", "the fair is on Monday")
        assert table.rows.read(started).ended_at is not None
        assert "shadow" not in table.registry.aliases
        assert "shadow_until" not in table.registry.model_tags


def test_one_whose_run_is_gone_is_settled_by_the_next_rollout(table: Table) -> None:
    number = start(table)
    table.rows.now += timedelta(hours=2)
    open_rollout(table.control("dag/event"), "iris")
    assert table.rows.read(number).state == "inconclusive"
    assert "shadow" not in table.registry.aliases


def test_the_rows_it_needs_follow_from_how_the_versions_differ_on_the_holdout(table: Table) -> None:
    row = ab_test.open_test(table.control(), "iris", kind="shadow")

    def decide(champion: str, error: float, metric: str = "accuracy") -> str:
        table.registry.tags["4"]["gate.decision"] = Decision(
            *("iris", "promote", "better", metric, 0.9, 0.85, 300, "manual"),  # type: ignore[arg-type]
            champion_version=champion,
            standard_error=error,
        ).to_json()
        return shadow.describe_need(table.control(), row, TERMS)

    known_later = "how many labelled rows it needs is known after 100 of them"
    assert shadow.describe_need(table.control(), row, TERMS) == known_later
    assert decide("3", 0.0149) == "about 401 labelled rows tell a difference of 0.05"
    assert decide("2", 0.0149) == known_later
    assert decide("3", 0.0149, "f1_macro") == known_later
    assert decide("3", 0.0) == "about 100 labelled rows tell a difference of 0.05"


def test_a_shadow_needs_a_pool_that_some_requests_reach(table: Table) -> None:
    form = {"model": "iris", "margin": None, "minimum_rows": 500, "maximum_hours": 48, "mode": "shadow"}
    assert ab_test.read_terms(table.control(), 100, form).minimum_rows == 500
    with pytest.raises(ab_test.NoCandidateError, match="found 0, expected 1 to 100"):
        ab_test.read_terms(table.control(), 0, form)
