"""Each rule of the comparison, kept and broken."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

import pytest

from serving.comparison.analysis import (
    Pool,
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
    return find_breach(Pool(live=canary), Pool(live=stable or counters(3600)), rules or Rules(), HOLDOUT)


def test_a_canary_like_the_stable_version_keeps_to_every_rule() -> None:
    assert judge(counters()) is None
    assert find_clear_breach(Pool(live=counters()), Pool(live=counters(3600)), Rules(), HOLDOUT) is None


@pytest.mark.parametrize(("failures", "answered", "is_breach"), [(2, 100, False), (8, 400, False), (20, 400, True)])
def test_errors_are_a_breach_from_two_points_and_three_errors_on(failures: int, answered: int, is_breach: bool) -> None:
    assert ("errors" in (judge(counters(answered, failures=failures)) or "")) is is_breach


def test_errors_that_the_stable_version_has_as_well_are_none_of_the_canary() -> None:
    assert judge(counters(400, failures=40), counters(3600, failures=360)) is None


@pytest.mark.parametrize(("fast", "is_breach"), [(399, False), (380, True)])
def test_one_slow_answer_in_a_hundred_is_allowed(fast: int, is_breach: bool) -> None:
    assert ("latency" in (judge(counters(fast=fast)) or "")) is is_breach


def test_twice_the_latency_of_a_slow_version_is_allowed() -> None:
    assert judge(counters(fast=0), counters(3600, fast=1800)) is None


def test_a_few_milliseconds_more_are_allowed_to_a_fast_version() -> None:
    slower = Counters({0.005: 380.0, 0.02: 400.0, inf: 400.0}, rows=400, classes=dict.fromkeys("012", 133.0))
    assert slower.quantile_ms(0.99) > 2 * counters(3600).quantile_ms(0.99)
    assert judge(slower) is None


def test_one_row_that_is_not_a_number_is_a_breach_at_the_end() -> None:
    assert "not a number" in (judge(counters(nan_rows=1)) or "")


def test_one_row_that_is_not_a_number_is_a_breach_at_once() -> None:
    bad = Pool(live=counters(10, nan_rows=1))
    assert "not a number" in (find_clear_breach(bad, Pool(), Rules(), HOLDOUT) or "")


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
    found = judge(counters(shares=canary), counters(3600, shares=stable))
    assert ("answers" in (found or "")) is is_breach


def test_replayed_and_live_requests_are_compared_each_with_their_own() -> None:
    """Half of what people ask fails on either side, but the canary gets more of it than the stable version."""
    canary = Pool(live=counters(300, failures=300), replay=counters(150))
    stable = Pool(live=counters(100, failures=100), replay=counters(150))
    assert find_breach(canary, stable, Rules(), HOLDOUT) is None


def test_few_bad_live_requests_among_many_good_replays_still_count() -> None:
    canary = Pool(live=counters(10, failures=40), replay=counters(300))
    stable = Pool(live=counters(400), replay=counters(300))
    assert "errors" in (find_breach(canary, stable, Rules(), HOLDOUT) or "")


@pytest.mark.parametrize(("answered", "is_short"), [(299, True), (300, False)])
def test_fewer_requests_than_asked_for_decide_nothing(answered: int, is_short: bool) -> None:
    shortage = find_shortage(Pool(counters(200), counters(answered - 200)), Pool(counters(5000)), Rules(), replayed=100)
    assert (shortage is not None) is is_short


def test_requests_that_a_stranger_marks_as_replayed_do_not_count_as_the_rollouts_own() -> None:
    pools = Pool(counters(100), counters(5000)), Pool(counters(4000), counters(5000))
    assert "found 108 requests to the canary" in (find_shortage(*pools, Rules(), replayed=8) or "")
    assert find_shortage(*pools, Rules(), replayed=200) is None


def test_a_few_requests_are_no_clear_breach() -> None:
    slow = Pool(live=counters(15, fast=0, failures=4))
    assert find_clear_breach(slow, Pool(live=counters(3600)), Rules(), HOLDOUT) is None
    slow = Pool(live=counters(30, fast=0))
    assert "median" in (find_clear_breach(slow, Pool(live=counters(3600)), Rules(), HOLDOUT) or "")


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
    found = find_breach(Pool(live=constant), Pool(live=varied), Rules(), holdout)
    assert "found the same one 200 times" in (found or "")
    assert find_breach(Pool(live=varied), Pool(live=varied), Rules(), holdout) is None
