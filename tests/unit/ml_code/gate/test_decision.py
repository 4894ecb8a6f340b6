from __future__ import annotations

import math
from typing import Any

import pytest

from ml_code.dataset_rules import Gate
from ml_code.gate.decision import Decision, Trigger, apply_gate, verdict
from ml_code.gate.evidence import Comparison, Evidence, Rival, Slice
from ml_code.gate.judging import note_asker

RULES = Gate(metric="accuracy", threshold=0.85, minimum_improvement=0.01, largest_regression=0.02)
ERRORS = Gate(metric="rmse", threshold=10.0)
CONSTANT = Rival(0.4, 0.5, 0.02)


def weigh(score: float, rows: int = 500, **changes: Any) -> Evidence:
    """A challenger that beats a constant."""
    return Evidence(**({"score": score, "holdout_rows": rows, "dummy": CONSTANT} | changes))


def judge(
    score: float = 0.95,
    difference: float | None = None,
    *,
    error: float = 0.005,
    trigger: Trigger = "manual",
    seen: bool = True,
    rows: int = 500,
    force: bool = False,
    **changes: Any,
) -> Decision:
    comparison = None
    if difference is not None:
        comparison = Comparison("3", score - difference, difference, error, has_seen_data=seen)
    return apply_gate("iris", RULES, weigh(score, rows, **changes), comparison, trigger=trigger, force=force)


def test_a_first_model_needs_the_threshold_only() -> None:
    assert judge(0.85).is_promoted
    assert verdict(judge(0.93)) == "iris: promoted, 0.93 >= 0.85, the first model"


@pytest.mark.parametrize(("groups", "is_small"), [(None, False), (10, False), (9, True), (1, True)])
def test_a_holdout_of_few_groups_needs_a_person(groups: int | None, is_small: bool) -> None:
    decision = judge(0.93, holdout_groups=groups)
    assert (decision.is_promoted, decision.needs_approval) == (True, is_small)
    assert ("500 rows of" in decision.reason) == is_small


def test_a_model_below_the_threshold_is_rejected_with_score_and_threshold() -> None:
    decision = judge(0.8499)
    assert not decision.is_promoted
    assert verdict(decision) == "iris: rejected, 0.8499 < 0.85 (accuracy against the threshold)"


def test_an_error_passes_below_its_threshold() -> None:
    assert apply_gate("housing", ERRORS, weigh(9.0), None).is_promoted
    assert "11 > 10" in apply_gate("housing", ERRORS, weigh(11.0), None).reason


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
    decision = apply_gate("iris", RULES, weigh(0.9), comparison)
    assert decision.is_promoted
    assert decision.needs_approval
    assert verdict(decision).startswith("iris: waits for a person, 0.9 >= 0.85, not comparable with version 3: it held")
    assert not apply_gate("iris", RULES, weigh(0.8), comparison).is_promoted


def test_another_schema_than_the_champions_is_rejected_unless_forced() -> None:
    comparison = Comparison("3", 0.9, 0.05, 0.001, schema_change="it reads other columns")
    assert "reads other columns" in apply_gate("iris", RULES, weigh(0.95), comparison).reason
    assert apply_gate("iris", RULES, weigh(0.95), comparison, force=True).is_promoted


def test_a_forced_model_keeps_the_reason_of_its_refusal() -> None:
    decision = judge(0.5, force=True)
    assert decision.is_promoted
    assert decision.is_forced
    assert "forced although 0.5 < 0.85" in verdict(decision)


def test_what_a_form_forces_names_its_person_unless_it_passes_anyway() -> None:
    assert note_asker(judge(0.5, force=True), judge(0.5), "ada").forced_by == "ada"
    assert note_asker(judge(1.0, rows=3, force=True), judge(1.0, rows=3), "ada").forced_by == "ada"
    assert note_asker(judge(0.9, force=True), judge(0.9), "ada") == judge(0.9)


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
    assert not apply_gate("iris", rules, weigh(math.nan), comparison, trigger=trigger).is_promoted


@pytest.mark.parametrize("trigger", ["manual", "data", "drift"])
@pytest.mark.parametrize(("difference", "error"), [(math.nan, 0.01), (-0.5, math.nan), (math.inf, 0.01)])
def test_a_difference_that_is_not_a_number_never_passes(trigger: Trigger, difference: float, error: float) -> None:
    decision = judge(0.95, difference, error=error, trigger=trigger, seen=False)
    assert not decision.is_promoted
    assert "difference to the champion, version 3, is not a number" in decision.reason


@pytest.mark.parametrize("trigger", ["manual", "data", "drift"])
def test_an_infinite_difference_passes_nothing(trigger: Trigger) -> None:
    comparison = Comparison("3", 0.9, math.inf, 0.01)
    decision = apply_gate("iris", RULES, weigh(0.95), comparison, trigger=trigger)
    assert not decision.is_promoted


def test_a_champion_that_was_not_measured_is_not_beaten() -> None:
    decision = apply_gate("iris", RULES, weigh(0.95), Comparison("3"))
    assert "was not measured" in decision.reason
    assert not decision.is_promoted


@pytest.mark.parametrize(
    ("difference", "error", "is_promoted"),
    [(0.0, 0.0, False), (-0.1, 0.01, False), (0.02, 0.03, False), (0.04, 0.03, True), (math.nan, 0.0, False)],
)
@pytest.mark.parametrize("trigger", ["manual", "data", "drift"])
def test_a_model_must_beat_a_constant_by_more_than_the_noise_whatever_the_threshold(
    difference: float, error: float, is_promoted: bool, trigger: Trigger
) -> None:
    decision = judge(0.95, trigger=trigger, dummy=Rival(0.95 - difference, difference, error))
    assert decision.is_promoted is is_promoted
    assert ("of a constant, not better by more than" in decision.reason) is not is_promoted


def test_only_force_passes_what_a_constant_does_as_well() -> None:
    decision = judge(0.95, force=True, dummy=Rival(0.95, 0.0, 0.0))
    assert decision.is_promoted
    assert "forced although 0.95 against 0.95 of a constant" in decision.reason


def test_a_decision_has_the_scores_of_both_baselines_and_says_if_the_linear_one_is_as_good() -> None:
    decision = judge(0.95, linear_score=0.96)
    assert (decision.baseline_dummy, decision.baseline_linear) == (0.4, 0.96)
    assert decision.warning == "a linear model is as good: 0.96"
    assert judge(0.95, linear_score=0.9).warning is None


def test_each_further_model_on_the_same_rows_must_win_by_more() -> None:
    """Two tries: 1.39 standard errors; ten: 2.12."""
    won = [judge(0.95, 0.07, error=0.05, tries=tries).is_promoted for tries in (1, 2, 10)]
    assert won == [True, True, False]
    assert [judge(0.95, 0.06, error=0.05, tries=tries).is_promoted for tries in (1, 2)] == [True, False]
    assert "(model 2 on these rows)" in judge(0.95, 0.06, error=0.05, tries=2).reason


def test_each_further_model_must_beat_a_constant_by_more() -> None:
    constant = Rival(0.89, 0.06, 0.05)
    assert [judge(0.95, dummy=constant, tries=tries).is_promoted for tries in (1, 2)] == [True, False]


@pytest.mark.parametrize(("rows", "waits"), [(1, True), (18, True), (19, False)])
def test_a_holdout_too_small_for_the_threshold_waits_for_a_person(rows: int, waits: bool) -> None:
    decision = judge(1.0, rows=rows, dummy=Rival(0.0, 1.0, 0.0))
    assert decision.is_promoted
    assert decision.needs_approval is waits
    assert ("too small a holdout to tell" in decision.reason) is waits
    assert not judge(1.0, rows=rows, force=True).needs_approval


def test_a_class_with_few_rows_counts_for_what_it_tells() -> None:
    decision = judge(0.95, rows=400, effective_rows=8.0)
    assert decision.needs_approval
    assert "400 rows that count as 8, needed 19" in decision.reason


def test_a_slice_below_the_floor_rejects_with_its_name() -> None:
    rules = Gate(metric="accuracy", threshold=0.85, slice_floor=0.7)
    low = Slice("Sex", "= male", 113, 0.61)
    assert apply_gate("iris", rules, weigh(0.95, low_slice=low), None).reason == (
        "0.61 < 0.7 in the slice Sex = male (113 rows)"
    )
    for passing in (None, Slice("Sex", "= male", 113, 0.7)):
        assert apply_gate("iris", rules, weigh(0.95, low_slice=passing), None).is_promoted
    assert judge(0.95, low_slice=low).is_promoted
    assert not apply_gate("iris", rules, weigh(0.95, low_slice=Slice("a", "", 50, math.nan)), None).is_promoted


def test_a_floor_of_errors_is_a_ceiling() -> None:
    rules = Gate(metric="rmse", threshold=10.0, slice_floor=20.0)
    assert not apply_gate("housing", rules, weigh(9.0, low_slice=Slice("a", "<= 3", 50, 21.0)), None).is_promoted
    assert apply_gate("housing", rules, weigh(9.0, low_slice=Slice("a", "<= 3", 50, 19.0)), None).is_promoted


@pytest.mark.parametrize(("loss", "is_promoted"), [(0.02, True), (0.021, False), (math.nan, False)])
def test_small_losses_to_one_champion_after_another_do_not_add_up(loss: float, is_promoted: bool) -> None:
    best = Rival(0.95 + loss, -loss, 0.001)
    comparison = Comparison("3", 0.96, -0.01, 0.001, best_version="1", best=best)
    decision = apply_gate("iris", RULES, weigh(0.95), comparison, trigger="data")
    assert decision.is_promoted is is_promoted
    assert ("of version 1, the best champion so far, worse by more than 0.02" in decision.reason) is not is_promoted
    assert decision.best_version == "1"


def test_the_champion_is_the_best_until_a_better_one_is_known() -> None:
    assert judge(0.95, 0.01).best_version == "3"
    assert judge(0.95).best_version is None


def test_a_new_line_starts_with_what_a_person_forces_or_approves() -> None:
    assert judge(0.95, -0.5, force=True).best_version is None
    assert apply_gate("iris", RULES, weigh(0.9), Comparison("3", problem="other rows")).best_version is None


def test_a_class_without_a_held_out_row_is_named() -> None:
    assert "no row of d, e is held out" in (judge(0.95, unseen_classes=["d", "e"]).warning or "")


def test_a_decision_of_a_newer_program_is_read() -> None:
    text = judge(0.95).to_json().replace("{", '{"further": 1, ', 1)
    assert Decision.from_json(text) == judge(0.95)
