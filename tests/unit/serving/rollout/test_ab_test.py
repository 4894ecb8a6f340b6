"""The steps of an A/B test, on fakes, as the DAG takes them."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from ml_code.gate.decision import Decision
from serving.comparison.analysis import Rules
from serving.comparison.experiment import Losses
from serving.errors import BreachError, NoCandidateError, RolloutLostError, UnderWayError
from serving.rollout import ab_test, steps
from serving.rollout.ab_test import Labelled, Terms
from serving.rollout.plan import open_rollout
from serving.rollout.rows import Rollout
from tests.unit.serving.fake_stack import Behaviour
from tests.unit.serving.rollout_fakes import Table, set_table

pytestmark = pytest.mark.usefixtures("quick_validation")

FORM = {"model": "iris", "margin": None, "minimum_rows": 500, "maximum_hours": 48}
TERMS = Terms(margin=0.05, share=0.5, minimum_rows=1000, maximum_hours=24)


def label(champion_wrong: float, challenger_wrong: float, rows: int = 4000) -> ab_test.ReadLabelled:
    """Labels by which each version is wrong in this share of its rows, each of another user."""

    def lose(share: float, first: int) -> Losses:
        return Losses((np.arange(rows) % 100 < share * 100).astype(float), np.arange(first, first + rows))

    return lambda row: Labelled(lose(champion_wrong, 0), lose(challenger_wrong, rows))


def start(table: Table, owner: str = "dag/run") -> int:
    control = table.control(owner)
    number = ab_test.open_test(control, "iris").rollout_id
    steps.validate_artifact(control, number)
    steps.start_canary(control, number)
    steps.wait_for_canary(control, number)
    steps.analyse_canary(control, number, Rules(), 4.0)
    return number


def look(table: Table, number: int, read: ab_test.ReadLabelled, terms: Terms = TERMS) -> bool:
    return ab_test.look(table.control(), number, terms, read)


@pytest.fixture
def table() -> Table:
    return set_table("4", champion="3")


@pytest.mark.parametrize(
    ("challenger", "verdict", "state"), [(0.1, "better", "compared"), (0.3, "worse", "aborted")], ids=str
)
def test_labels_tell_the_better_version_and_the_champion_stays_until_a_rollout(
    table: Table, challenger: float, verdict: str, state: str
) -> None:
    number = start(table)
    assert look(table, number, label(0.2, challenger))
    assert ab_test.conclude(table.control(), number) == verdict
    row = table.rows.read(number)
    assert (row.kind, row.state, row.figures["experiment"]["rows"]) == ("ab", state, 8000)
    assert verdict in row.reason
    assert table.registry.aliases == {"champion": "3"}
    assert table.registry.tags["4"]["rollout"] == state
    assert table.control().find_newest_passed("iris") == "3"
    assert ab_test.conclude(table.control(), number) == verdict, "a step that is repeated"


def test_the_champion_is_tested_by_the_canary_pool_until_the_time_is_over(table: Table) -> None:
    number = start(table)
    alike = label(0.2, 0.21, 600)
    assert not look(table, number, alike)
    assert table.stack.challenger() == "4"
    table.rows.now += timedelta(hours=24)
    assert look(table, number, alike)
    assert ab_test.conclude(table.control(), number) == "undecided"


def test_a_verdict_waits_for_the_rows_that_were_asked_for(table: Table) -> None:
    number = start(table)
    assert not look(table, number, label(0.5, 0.1, 400))
    assert table.rows.read(number).figures["experiment"]["verdict"] == "better"


def test_without_labels_nothing_is_decided(table: Table) -> None:
    number = start(table)
    assert not look(table, number, label(0.1, 0.9, 99))
    assert table.rows.read(number).reason == "undecided: fewer than 100 rows of the champion have a label"


def test_the_spread_that_the_interval_is_made_for_stays_that_of_the_first_labels(table: Table) -> None:
    number = start(table)
    look(table, number, label(0.5, 0.5, 200))
    look(table, number, label(0.1, 0.1, 300))
    assert table.rows.read(number).figures["experiment"]["variance"] == pytest.approx(0.25)


def test_a_version_that_fails_ends_its_test_at_the_next_look(table: Table) -> None:
    number = start(table)
    table.stack.behaviours["4"] = Behaviour(failing_share=0.5)
    with pytest.raises(BreachError, match="errors"):
        look(table, number, label(0.2, 0.1))
    assert table.rows.read(number).state == "aborted"
    assert table.registry.aliases == {"champion": "3"}


def test_a_canary_that_is_absent_for_a_while_is_no_verdict(table: Table) -> None:
    number = start(table)
    table.stack.is_canary_absent = True
    assert not look(table, number, label(0.2, 0.2, 600))
    table.stack.is_canary_absent = False
    assert look(table, number, label(0.2, 0.1))
    assert table.rows.read(number).figures["canary"]["failures"] == 0


def test_it_stands_aside_for_what_is_under_way_and_takes_over_its_own(table: Table) -> None:
    number = start(table)
    assert ab_test.open_test(table.control(), "iris").rollout_id == number
    with pytest.raises(UnderWayError, match="expected nothing under way"):
        ab_test.open_test(table.control("dag/another"), "iris")


def test_one_whose_run_is_gone_is_settled_by_the_next(table: Table) -> None:
    number = start(table)
    table.rows.now += timedelta(hours=2)
    other = ab_test.open_test(table.control("dag/another"), "iris")
    assert other.rollout_id != number
    assert table.rows.read(number).state == "inconclusive"


def test_without_a_champion_or_a_canary_pool_there_is_nothing_to_compare() -> None:
    with pytest.raises(NoCandidateError, match="no champion"):
        ab_test.open_test(set_table("1").control(), "iris")
    with pytest.raises(NoCandidateError, match="no canary pool"):
        ab_test.open_test(set_table("2", has_canary_pool=False, champion="1").control(), "iris")


def test_a_newer_version_waits_for_its_end_and_a_requested_one_takes_its_place(table: Table) -> None:
    number = start(table)
    table.registry.add("5", gate="passed")
    with pytest.raises(UnderWayError, match="waits for its end"):
        open_rollout(table.control("dag/event"), "iris")
    taken: Rollout = open_rollout(table.control("dag/form"), "iris", "5")
    assert (taken.kind, taken.to_version) == ("rollout", "5")
    assert table.rows.read(number).reason.startswith("version 5 takes its place")
    with pytest.raises(RolloutLostError):
        look(table, number, label(0.2, 0.1))


@pytest.mark.parametrize(
    ("percent", "form", "problem"),
    [(0, {}, "CANARY_PERCENT: found 0"), (100, {}, "CANARY_PERCENT: found 100")],
    ids=["nobody tests", "nobody keeps the champion"],
)
def test_terms_under_which_nothing_can_be_compared_are_refused(
    table: Table, percent: int, form: dict[str, float], problem: str
) -> None:
    with pytest.raises(NoCandidateError, match=problem):
        ab_test.read_terms(table.control(), percent, FORM | form)


def test_the_form_decides_what_matters_and_the_gate_where_it_says_nothing(table: Table) -> None:
    assert ab_test.read_terms(table.control(), 10, FORM) == Terms(0.02, 0.1, 500, 48)
    assert ab_test.read_terms(table.control(), 10, FORM | {"margin": 0.01}).margin == 0.01


def test_the_rows_it_needs_are_told_before_the_first_label(table: Table) -> None:
    row = ab_test.open_test(table.control(), "iris")
    assert (
        ab_test.describe_need(table.control(), row, TERMS)
        == "how many labelled rows it needs is known after 100 of them"
    )
    table.registry.tags["3"]["gate.decision"] = Decision(
        "iris", "promote", "better", "accuracy", 0.9, 0.85, 300, "manual"
    ).to_json()
    assert ab_test.describe_need(table.control(), row, TERMS) == "about 2165 labelled rows tell a difference of 0.05"


def test_a_version_that_waits_for_a_person_is_not_tested_on_users(table: Table) -> None:
    table.registry.add("5", gate="needs_approval")
    with pytest.raises(NoCandidateError, match="a person approves it in a rollout"):
        ab_test.open_test(table.control(), "iris", "5")
