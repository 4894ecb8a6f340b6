"""Each rule of the comparison, kept and broken."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

import pytest

from serving.comparison.analysis import (
    Rules,
    Spread,
    find_breach,
    find_clear_breach,
    find_shortage,
    measure_distance,
    spread_of_answers,
    spread_of_counters,
)
from serving.comparison.counters import Counters
from serving.comparison.senders import Answered, Evidence

HOLDOUT = Spread(52, {"0": 0.36, "1": 0.31, "2": 0.33})
VARIED = {"0": 0.34, "1": 0.33, "2": 0.33}


def counters(
    answered: int = 400,
    *,
    failures: int = 0,
    fast: int | None = None,
    nan_rows: int = 0,
    shares: Mapping[str, float] = VARIED,
) -> Counters:
    """`fast` answers took 5 ms at most, the others 100 to 250 ms."""
    fast = answered if fast is None else fast
    buckets = {0.005: fast, 0.01: fast, 0.1: fast, 0.25: answered, inf: answered}
    classes = {name: share * answered for name, share in shares.items()}
    return Counters({at: float(n) for at, n in buckets.items()}, failures, answered, nan_rows, classes)


def judge(canary: Counters, stable: Counters | None = None, rules: Rules | None = None) -> str | None:
    return find_breach(canary, stable or counters(3600), Evidence(), rules or Rules(), HOLDOUT)


def find_at_once(canary: Counters, stable: Counters | None = None) -> str | None:
    return find_clear_breach(canary, stable or counters(3600), Evidence(), Rules(), HOLDOUT)


def test_a_canary_like_the_stable_version_keeps_to_every_rule() -> None:
    assert judge(counters()) is None
    assert find_at_once(counters()) is None


@pytest.mark.parametrize(("failures", "answered", "is_breach"), [(2, 100, False), (8, 400, False), (20, 400, True)])
def test_errors_are_a_breach_from_two_points_and_three_errors_on(failures: int, answered: int, is_breach: bool) -> None:
    assert ("errors" in (judge(counters(answered, failures=failures)) or "")) is is_breach


def test_errors_that_the_stable_version_has_as_well_are_none_of_the_canary() -> None:
    assert judge(counters(400, failures=40), counters(3600, failures=360)) is None


@pytest.mark.parametrize(("fast", "is_breach"), [(399, False), (380, True)])
def test_one_slow_answer_in_a_hundred_is_allowed(fast: int, is_breach: bool) -> None:
    assert ("latency" in (judge(counters(fast=fast)) or "")) is is_breach


@pytest.mark.parametrize(("slow", "is_breach"), [(1, False), (2, False), (3, True)])
def test_of_few_answers_one_slow_one_decides_nothing(slow: int, is_breach: bool) -> None:
    assert ("latency" in (judge(counters(60, fast=60 - slow)) or "")) is is_breach


def test_twice_the_latency_of_a_slow_version_is_allowed() -> None:
    assert judge(counters(fast=0), counters(3600, fast=1800)) is None


def test_a_few_milliseconds_more_are_allowed_to_a_fast_version() -> None:
    slower = Counters({0.005: 380.0, 0.02: 400.0, inf: 400.0}, rows=400, classes=dict.fromkeys("012", 133.0))
    assert slower.quantile_ms(0.99) > 2 * counters(3600).quantile_ms(0.99)
    assert judge(slower) is None


@pytest.mark.parametrize(("canary", "stable", "is_breach"), [(2, 0, False), (3, 0, True), (50, 49, False)])
def test_rows_that_only_the_canary_cannot_answer_with_a_number_are_a_breach(
    canary: int, stable: int, is_breach: bool
) -> None:
    for find in (judge, find_at_once):
        found = find(counters(400, nan_rows=canary), counters(400, nan_rows=stable))
        assert ("not a number" in (found or "")) is is_breach


@pytest.mark.parametrize(
    ("canary", "stable", "is_breach"),
    [
        ({"0": 0.1, "1": 0.1, "2": 0.8}, VARIED, True),
        ({"0": 0.1, "1": 0.1, "2": 0.8}, {"0": 0.15, "1": 0.1, "2": 0.75}, False),
        ({"0": 0.4, "1": 0.3, "2": 0.3}, {"0": 0.9, "1": 0.1, "2": 0.0}, False),
        ({"1": 1.0}, VARIED, True),
        ({"1": 1.0}, {"1": 1.0}, False),
    ],
    ids=["far from both", "what people ask is odd", "better than the stable one", "constant", "always the same row"],
)
def test_answers_are_odd_where_they_are_neither_the_holdouts_nor_the_stable_versions(
    canary: Mapping[str, float], stable: Mapping[str, float], is_breach: bool
) -> None:
    evidence = Evidence(answers={0: Answered(counters(shares=canary), counters(shares=stable))})
    found = find_breach(counters(), counters(), evidence, Rules(), HOLDOUT)
    assert ("answers" in (found or "")) is is_breach


@pytest.mark.parametrize(("answered", "is_short"), [(299, True), (300, False)])
def test_fewer_requests_than_asked_for_decide_nothing(answered: int, is_short: bool) -> None:
    shortage = find_shortage(counters(answered), counters(5000), Rules())
    assert (shortage is not None) is is_short


def test_a_few_requests_are_no_clear_breach() -> None:
    assert find_at_once(counters(15, fast=0, failures=4)) is None
    assert "median" in (find_at_once(counters(30, fast=0)) or "")


def test_the_distance_of_values_grows_with_mean_and_width() -> None:
    one = spread_of_answers([1.0, 2.0, 3.0, 4.0], are_classes=False)
    counted = spread_of_counters(Counters(rows=4, values=(10.0, 30.0)))
    assert measure_distance(one, counted) == pytest.approx(0.0, abs=1e-9)
    assert measure_distance(one, Spread(4, mean=2.5 + one.deviation, deviation=one.deviation)) == pytest.approx(
        0.38, abs=0.01
    )
    assert measure_distance(one, Spread(4, mean=2.5, deviation=0.0)) == 1.0
    assert measure_distance(Spread(4, mean=1.0), Spread(4, mean=1.0)) == 0.0
    assert measure_distance(Spread(4, mean=1.0), Spread(4, mean=2.0)) == 1.0


def test_a_regression_that_always_answers_the_same_is_constant() -> None:
    constant = Counters({inf: 200.0}, rows=200, values=(1000.0, 5000.0))
    varied = Counters({inf: 200.0}, rows=200, values=(1000.0, 9000.0))
    holdout = Spread(100, mean=5.0, deviation=4.0)
    odd, fine = (Evidence(answers={0: Answered(canary, varied)}) for canary in (constant, varied))
    found = find_breach(counters(), counters(), odd, Rules(), holdout)
    assert "found the same one 200 times" in (found or "")
    assert find_breach(counters(), counters(), fine, Rules(), holdout) is None
