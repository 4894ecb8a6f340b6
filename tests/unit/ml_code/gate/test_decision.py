from __future__ import annotations

import math

import pytest

from ml_code.datasets import Gate
from ml_code.gate.decision import Comparison, Decision, Trigger, apply_gate, verdict

RULES = Gate(metric="accuracy", threshold=0.85, minimum_improvement=0.01, largest_regression=0.02)
ERRORS = Gate(metric="rmse", threshold=10.0)


def judge(
    score: float = 0.95,
    difference: float | None = None,
    *,
    error: float = 0.005,
    trigger: Trigger = "manual",
    seen: bool = True,
    rows: int = 500,
    force: bool = False,
) -> Decision:
    comparison = None
    if difference is not None:
        comparison = Comparison("3", score - difference, difference, error, has_seen_data=seen)
    return apply_gate("iris", RULES, score, rows, comparison, trigger=trigger, force=force)


def test_a_first_model_needs_the_threshold_only() -> None:
    assert judge(0.85).is_promoted
    assert verdict(judge(0.93)) == "iris: promoted, 0.93 >= 0.85, the first model"


def test_a_model_below_the_threshold_is_rejected_with_score_and_threshold() -> None:
    decision = judge(0.8499)
    assert not decision.is_promoted
    assert verdict(decision) == "iris: rejected, 0.8499 < 0.85 (accuracy against the threshold)"


def test_an_error_passes_below_its_threshold() -> None:
    assert apply_gate("housing", ERRORS, 9.0, 500, None).is_promoted
    assert "11 > 10" in apply_gate("housing", ERRORS, 11.0, 500, None).reason


@pytest.mark.parametrize(
    ("difference", "error", "is_promoted"),
    [(0.0, 0.0, False), (0.01, 0.001, False), (0.011, 0.001, True), (0.02, 0.03, False), (0.04, 0.03, True)],
)
@pytest.mark.parametrize("trigger", ["manual", "data"])
def test_on_data_the_champion_has_seen_a_model_must_win_clearly(
    difference: float, error: float, is_promoted: bool, trigger: Trigger
) -> None:
    assert judge(0.95, difference, error=error, trigger=trigger).is_promoted is is_promoted


@pytest.mark.parametrize(
    ("difference", "error", "is_promoted"),
    [(0.0, 0.0, True), (-0.02, 0.001, True), (-0.021, 0.001, False), (-0.03, 0.04, True), (-0.05, 0.04, False)],
)
@pytest.mark.parametrize("trigger", ["manual", "data"])
def test_on_new_data_a_model_must_not_lose_clearly(
    difference: float, error: float, is_promoted: bool, trigger: Trigger
) -> None:
    assert judge(0.95, difference, error=error, trigger=trigger, seen=False).is_promoted is is_promoted


def test_after_drift_a_model_must_win() -> None:
    assert not judge(0.95, 0.0, trigger="drift", seen=False).is_promoted
    assert judge(0.95, 0.05, trigger="drift", seen=False).is_promoted


def test_a_champion_that_does_not_compare_leaves_the_threshold_and_a_person() -> None:
    comparison = Comparison("3", problem="it held out other rows")
    decision = apply_gate("iris", RULES, 0.9, 500, comparison)
    assert decision.is_promoted
    assert decision.needs_approval
    assert verdict(decision).startswith("iris: waits for a person, 0.9 >= 0.85, not comparable with version 3: it held")
    assert not apply_gate("iris", RULES, 0.8, 500, comparison).is_promoted


def test_another_schema_than_the_champions_is_rejected_unless_forced() -> None:
    comparison = Comparison("3", 0.9, 0.05, 0.001, has_other_schema=True)
    assert "reads other columns" in apply_gate("iris", RULES, 0.95, 500, comparison).reason
    assert apply_gate("iris", RULES, 0.95, 500, comparison, force=True).is_promoted


def test_a_forced_model_keeps_the_reason_of_its_refusal() -> None:
    decision = judge(0.5, force=True)
    assert decision.is_promoted
    assert decision.is_forced
    assert "forced although 0.5 < 0.85" in verdict(decision)


def test_force_changes_nothing_where_nothing_speaks_against_a_model() -> None:
    assert judge(0.9, force=True) == judge(0.9)


@pytest.mark.parametrize(("rows", "is_weak"), [(199, True), (200, False)])
def test_a_small_holdout_adds_a_warning(rows: int, is_weak: bool) -> None:
    assert (judge(rows=rows).warning is not None) is is_weak


def test_a_decision_survives_being_stored() -> None:
    decision = judge(0.95, 0.05)
    assert Decision.from_json(decision.to_json()) == decision


@pytest.mark.parametrize("rules", [RULES, ERRORS])
@pytest.mark.parametrize("trigger", ["manual", "data", "drift"])
@pytest.mark.parametrize("comparison", [None, Comparison("3", 0.9, math.nan, math.nan)])
def test_a_score_that_is_not_a_number_never_passes(
    rules: Gate, trigger: Trigger, comparison: Comparison | None
) -> None:
    assert not apply_gate("iris", rules, math.nan, 500, comparison, trigger=trigger).is_promoted


@pytest.mark.parametrize("trigger", ["manual", "data", "drift"])
@pytest.mark.parametrize(("difference", "error"), [(math.nan, 0.01), (-0.5, math.nan), (math.inf, 0.01)])
def test_a_difference_that_is_not_a_number_never_passes(trigger: Trigger, difference: float, error: float) -> None:
    decision = judge(0.95, difference, error=error, trigger=trigger, seen=False)
    assert not decision.is_promoted
    assert "difference to the champion, version 3, is not a number" in decision.reason


@pytest.mark.parametrize("trigger", ["manual", "data", "drift"])
def test_an_infinite_difference_passes_nothing(trigger: Trigger) -> None:
    comparison = Comparison("3", 0.9, math.inf, 0.01)
    decision = apply_gate("iris", RULES, 0.95, 500, comparison, trigger=trigger)
    assert not decision.is_promoted


def test_a_champion_that_was_not_measured_is_not_beaten() -> None:
    decision = apply_gate("iris", RULES, 0.95, 500, Comparison("3"))
    assert "was not measured" in decision.reason
    assert not decision.is_promoted
