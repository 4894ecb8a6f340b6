"""The verdict on a model that was trained after drift, by measurements."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from ml_code.dataset_rules import Gate
from ml_code.gate.decision import Decision
from ml_code.gate.evidence import Comparison, Evidence, Rival
from ml_code.monitoring.retraining.verdict import OldRows, choose_guard, judge_drift

RULES = Gate(metric="accuracy", threshold=0.85)
EVIDENCE = Evidence(score=0.95, holdout_rows=340, dummy=Rival(0.5, 0.45, 0.02))
NEWEST = Comparison("3", champion_score=0.80, difference=0.15, standard_error=0.02)
OLD = OldRows(score=0.94, champion_score=0.95, difference=-0.01, rows=51)


def judge(*, unattended: bool = False, old: OldRows | None = OLD, **changes: Any) -> Decision:
    rules = changes.pop("rules", RULES)
    newest = replace(NEWEST, **{name: changes.pop(name) for name in list(changes) if hasattr(NEWEST, name)})
    return judge_drift("iris", rules, replace(EVIDENCE, **changes), newest, old, unattended=unattended)


def name(decision: Decision) -> str:
    return "held" if decision.needs_approval else decision.outcome


def test_a_model_that_is_better_there_and_as_good_as_before_is_promoted() -> None:
    decision = judge()
    assert name(decision) == "promote"
    assert decision.reason == (
        "0.95 against 0.8 of version 3 on 340 newest held-out rows, 0.94 against 0.95 on 51 older ones"
    )
    assert (decision.trigger, decision.threshold, decision.old_difference, decision.old_rows) == (
        "drift",
        0.85,
        -0.01,
        51,
    )


@pytest.mark.parametrize(("difference", "expected"), [(0.019, "reject"), (0.021, "promote")])
def test_it_must_be_better_by_more_than_one_standard_error(difference: float, expected: str) -> None:
    assert name(judge(difference=difference)) == expected


@pytest.mark.parametrize(
    ("difference", "expected"), [(-0.02, "promote"), (-0.021, "held"), (float("nan"), "held")], ids=str
)
def test_a_larger_loss_on_old_rows_is_held_for_a_person(difference: float, expected: str) -> None:
    assert name(judge(old=replace(OLD, difference=difference))) == expected


def test_an_unattended_dataset_accepts_the_loss_and_starts_a_new_line() -> None:
    decision = judge(old=replace(OLD, difference=-0.3), unattended=True)
    assert name(decision) == "promote"
    assert decision.best_version is None


def test_a_loss_of_old_rows_is_no_reason_to_keep_what_does_not_win_on_the_newest() -> None:
    assert name(judge(difference=0.0, old=replace(OLD, difference=-0.3), unattended=True)) == "reject"


def test_a_better_model_below_the_threshold_is_held_even_unattended() -> None:
    decision = judge(score=0.84, unattended=True)
    assert name(decision) == "held"
    assert "0.84 misses the threshold 0.85" in decision.reason
    assert decision.threshold == 0.85


def test_of_an_error_the_lower_one_is_better() -> None:
    rules = Gate(metric="rmse", threshold=10.0)
    assert name(judge(rules=rules, score=9.0)) == "promote"
    assert name(judge(rules=rules, score=11.0)) == "held"


def test_a_model_that_is_no_better_than_a_constant_is_rejected() -> None:
    assert name(judge(dummy=Rival(0.95, 0.0, 0.02))) == "reject"


def test_where_no_older_row_compares_nothing_is_promoted_without_a_person() -> None:
    decision = judge(old=None)
    assert name(decision) == "held"
    assert decision.reason.endswith("; too few older held-out rows compare, so nothing guards what was learned before")
    assert name(judge(old=None, unattended=True)) == "promote"


def test_the_reason_names_the_rows_on_which_it_is_worse() -> None:
    decision = judge(old=replace(OLD, difference=-0.3, rows=68, kind="of earlier retrainings"))
    assert "0.94 against 0.95 on 68 of earlier retrainings; a changed world" in decision.reason


def test_a_champion_that_does_not_compare_needs_a_person() -> None:
    problem = Comparison("3", problem="it held out other rows, so it may have trained on these")
    decision = judge_drift("iris", RULES, EVIDENCE, problem, None, unattended=True)
    assert name(decision) == "held"
    assert "it held out other rows" in decision.reason


def test_a_score_that_is_not_a_number_is_rejected() -> None:
    assert name(judge(score=float("nan"), difference=float("nan"))) == "reject"


def test_the_worse_side_of_the_older_rows_guards_and_fewer_than_ten_rows_guard_nothing() -> None:
    worse, better = OldRows(0.8, 0.9, -0.1, 4), OldRows(0.9, 0.9, 0.0, 6)
    unknown = OldRows(math.nan, 0.9, math.nan, 6)
    assert choose_guard([better, worse]) == worse
    assert choose_guard([worse, unknown]) == unknown
    assert choose_guard([worse, OldRows(0.9, 0.9, 0.0, 5)]) is None
    assert choose_guard([]) is None
