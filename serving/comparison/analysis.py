"""Judges a canary beside the stable version by their figures of the same minutes; pure: figures in, a breach out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from serving.comparison.counters import Counters

ENOUGH = 100
"""Requests (or rows) of each pool from which on one kind of traffic is judged alone."""

ENOUGH_FOR_A_CLEAR_BREACH = 20
"""Requests of each pool from which on a breach may be so clear that the window need not end."""

CLEAR_SUCCESS_DROP = 0.1
"""A drop of the success rate that is not chance, however few the requests were."""

VARIED_SHARE = 0.9
"""Answers vary where no class has a larger share than this."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The limits of a canary.

    Args:
        minimum_requests: of each pool, below which nothing is decided.
        success_drop: how much lower its success rate may be, as a share.
        tolerated_failures: this many failures are not a breach, whatever their share.
        latency_factor: how many times slower its p99 may be,
        latency_margin_ms: or by how many milliseconds, whichever is more.
        distribution_distance: how far its answers may be from its holdout's, from 0 (alike) to 1 (nothing in common).
    """

    minimum_requests: int = 300
    success_drop: float = 0.02
    tolerated_failures: int = 2
    latency_factor: float = 2.0
    latency_margin_ms: float = 50.0
    distribution_distance: float = 0.3


@dataclass(frozen=True, slots=True)
class Pool:
    """One version's figures, of clients' requests and of replayed ones."""

    live: Counters = field(default_factory=Counters)
    replay: Counters = field(default_factory=Counters)

    @property
    def both(self) -> Counters:
        """Live and replayed requests together."""
        return self.live.plus(self.replay)

    def describe(self) -> dict[str, Any]:
        """The figures as they are stored and shown."""
        both = self.both
        return {
            "live": round(self.live.requests),
            "replayed": round(self.replay.requests),
            "failures": round(both.failures),
            "p99_ms": round(both.quantile_ms(0.99), 1),
            "nan_rows": round(both.nan_rows),
        }


@dataclass(frozen=True, slots=True)
class Spread:
    """Where answers lie: the share of each class, or mean and standard deviation of the values."""

    rows: float
    shares: Mapping[str, float] = field(default_factory=dict)
    mean: float = 0.0
    deviation: float = 0.0

    @property
    def is_constant(self) -> bool:
        """Whether all answers are the same."""
        if self.shares:
            return max(self.shares.values()) == 1.0
        return self.deviation <= 1e-6 * max(1.0, abs(self.mean))

    @property
    def is_varied(self) -> bool:
        """Whether no answer is nearly all of them."""
        return max(self.shares.values()) <= VARIED_SHARE if self.shares else not self.is_constant


def spread_of_counters(counters: Counters) -> Spread:
    """The spread of a pool's answers."""
    total = sum(counters.classes.values())
    if total:
        return Spread(total, {name: count / total for name, count in counters.classes.items() if count})
    rows = counters.rows - counters.nan_rows
    if rows <= 0:
        return Spread(0.0)
    mean = counters.values[0] / rows
    return Spread(rows, mean=mean, deviation=math.sqrt(max(0.0, counters.values[1] / rows - mean * mean)))


def spread_of_answers(answers: Sequence[float | int | str], *, are_classes: bool) -> Spread:
    """The spread of a file's answers to its holdout."""
    if are_classes:
        names = [str(answer) for answer in answers]
        return Spread(len(names), {name: names.count(name) / len(names) for name in sorted(set(names))})
    values = [float(answer) for answer in answers]
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / len(values)
    return Spread(len(values), mean=mean, deviation=math.sqrt(variance))


def measure_distance(one: Spread, other: Spread) -> float:
    """How far two spreads are from each other, from 0 to 1.

    For classes it is the total variation; for values the total variation of two normal distributions of those means
    and of their pooled deviation, or how much wider one is than the other, whichever is more.
    """
    if one.shares or other.shares:
        names = {*one.shares, *other.shares}
        return sum(abs(one.shares.get(name, 0.0) - other.shares.get(name, 0.0)) for name in names) / 2
    pooled = math.sqrt((one.deviation**2 + other.deviation**2) / 2)
    if pooled == 0.0:
        return 0.0 if one.mean == other.mean else 1.0
    shift = math.erf(abs(one.mean - other.mean) / (2 * math.sqrt(2) * pooled))
    width = abs(one.deviation - other.deviation) / (one.deviation + other.deviation)
    return max(shift, width)


def find_clear_breach(canary: Pool, stable: Pool, rules: Rules, holdout: Spread) -> str | None:
    """The breach so clear that more requests would only do harm; None without one."""
    of_canary, of_stable = canary.both, stable.both
    if of_canary.nan_rows:
        return _describe_nan(of_canary)
    if min(of_canary.requests, of_stable.requests) < ENOUGH_FOR_A_CLEAR_BREACH:
        return None
    for one, other in _list_kinds(canary, stable, ENOUGH_FOR_A_CLEAR_BREACH):
        breach = _find_failures(one, other, max(CLEAR_SUCCESS_DROP, rules.success_drop), rules)
        if breach := breach or _find_slowness(one, other, rules, 0.5):
            return breach
    return _find_odd_answers(canary.live, stable.live, rules, holdout)


def find_breach(canary: Pool, stable: Pool, rules: Rules, holdout: Spread) -> str | None:
    """The canary's breach at the end of its window; None without one."""
    if canary.both.nan_rows:
        return _describe_nan(canary.both)
    for one, other in _list_kinds(canary, stable, ENOUGH):
        breach = _find_failures(one, other, rules.success_drop, rules)
        if breach := breach or _find_slowness(one, other, rules, 0.99):
            return breach
    return _find_odd_answers(canary.live, stable.live, rules, holdout)


def find_shortage(canary: Pool, stable: Pool, rules: Rules, replayed: int) -> str | None:
    """The requests that are missing for a decision; None where there were enough.

    At most as many replayed requests count as were replayed to each pool: any client may mark a request as one.
    """
    of_canary, of_stable = (pool.live.requests + min(pool.replay.requests, replayed) for pool in (canary, stable))
    if min(of_canary, of_stable) >= rules.minimum_requests:
        return None
    return (
        f"found {of_canary:.0f} requests to the canary and {of_stable:.0f} to the stable version, expected at least "
        f"{rules.minimum_requests} each"
    )


def _list_kinds(canary: Pool, stable: Pool, enough: float) -> list[tuple[Counters, Counters]]:
    """Live beside live and replayed beside replayed; together where people's requests alone are too few.

    The pools get the same replays but not the same share of people's requests, so that a mixture of both does not
    compare.
    """
    live, replay = (canary.live, stable.live), (canary.replay, stable.replay)
    found = [kind for kind in (live, replay) if min(kind[0].requests, kind[1].requests) >= enough]
    return found if live in found else [*found, (canary.both, stable.both)]


def _find_failures(canary: Counters, stable: Counters, drop: float, rules: Rules) -> str | None:
    if canary.failures <= rules.tolerated_failures or not canary.requests:
        return None
    rate = canary.answered / canary.requests
    expected = stable.answered / stable.requests if stable.requests else 1.0
    if rate >= expected - drop:
        return None
    return (
        f"errors: found {canary.failures:.0f} failures in {canary.requests:.0f} requests ({rate:.1%} answered), "
        f"expected at most {drop:.0%} fewer answers than the stable version ({expected:.1%})"
    )


def _find_slowness(canary: Counters, stable: Counters, rules: Rules, share: float) -> str | None:
    if min(canary.answered, stable.answered) < ENOUGH_FOR_A_CLEAR_BREACH:
        return None
    found, beside = canary.quantile_ms(share), stable.quantile_ms(share)
    limit = max(rules.latency_factor * beside, beside + rules.latency_margin_ms)
    if found <= limit:
        return None
    name = "median" if share == 0.5 else f"p{share * 100:.0f}"
    return f"latency: found a {name} of {found:.0f} ms, expected at most {limit:.0f} (the stable version: {beside:.1f})"


def _find_odd_answers(canary: Counters, stable: Counters, rules: Rules, holdout: Spread) -> str | None:
    """Answers that are neither those of the challenger's own holdout nor those of the stable version beside it.

    Far from its holdout alone is not the canary's fault: then what people ask is unusual, such as always the same row.
    """
    of_canary, of_stable = spread_of_counters(canary), spread_of_counters(stable)
    if min(of_canary.rows, of_stable.rows) < ENOUGH:
        return None
    if of_canary.is_constant and of_stable.is_varied and holdout.is_varied:
        return f"answers: found the same one {of_canary.rows:.0f} times, expected varied ones as the stable version's"
    from_holdout, from_stable = measure_distance(of_canary, holdout), measure_distance(of_canary, of_stable)
    if min(from_holdout, from_stable) <= rules.distribution_distance:
        return None
    return (
        f"answers: found a distance of {from_holdout:.2f} from its holdout's and of {from_stable:.2f} from the stable "
        f"version's, expected at most {rules.distribution_distance:g} from either"
    )


def _describe_nan(counters: Counters) -> str:
    return f"answers: found {counters.nan_rows:.0f} rows that are not a number, expected none"
