"""Judges a canary beside the stable version; pure: figures in, a breach out.

Two kinds of figures decide: rows that the rollout replays to both versions, and drawn requests of people, each of which
the canary's replica asked both versions where it looked bad. What only strangers see of either decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from serving.comparison.counters import Counters
from serving.comparison.senders import Evidence, Sender

ENOUGH = 100
"""Requests from which on the spread of their answers is judged."""

ENOUGH_FOR_A_CLEAR_BREACH = 20
"""Replayed requests of each pool from which on a breach may be so clear that the window need not end."""

WITNESSES = 3
"""Senders who must have met a fault: no verdict hangs on one of them."""

CLEAR_SUCCESS_DROP = 0.1
"""A drop of the success rate that is not chance, however few the requests were."""

VARIED_SHARE = 0.9
"""Answers vary where no class has a larger share than this."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The limits of a canary.

    Args:
        minimum_requests: of each pool, below which nothing is decided.
        success_drop: how much lower its success rate may be, as a share, and the share of senders who may meet a fault.
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


def find_clear_breach(
    canary: Counters, stable: Counters, evidence: Evidence, rules: Rules, holdout: Spread
) -> str | None:
    """The breach so clear that more requests would only do harm; None without one.

    Args:
        canary: figures of the rows that the rollout replayed to the canary,
        stable: and to the stable version.
        evidence: what drawn requests showed.
        rules: the limits.
        holdout: the answers of the canary's file to its holdout.
    """
    drop = max(CLEAR_SUCCESS_DROP, rules.success_drop)
    found = find_faults(evidence, rules, drop, holdout).breach or _find_nan(canary, stable, rules)
    if found or min(canary.requests, stable.requests) < ENOUGH_FOR_A_CLEAR_BREACH:
        return found
    return _find_failures(canary, stable, drop, rules) or _find_slowness(canary, stable, rules, 0.5)


def find_breach(canary: Counters, stable: Counters, evidence: Evidence, rules: Rules, holdout: Spread) -> str | None:
    """The canary's breach at the end of its window, of the same arguments; None without one."""
    return (
        find_faults(evidence, rules, rules.success_drop, holdout).breach
        or _find_nan(canary, stable, rules)
        or _find_failures(canary, stable, rules.success_drop, rules)
        or _find_slowness(canary, stable, rules, 0.99)
    )


def find_doubt(evidence: Evidence, rules: Rules, holdout: Spread) -> str | None:
    """What too few senders saw to condemn a version that must not be promoted either; None without it."""
    return find_faults(evidence, rules, rules.success_drop, holdout).doubt


def find_shortage(canary: Counters, stable: Counters, rules: Rules) -> str | None:
    """The replayed requests that are missing for a decision; None where there were enough."""
    if min(canary.requests, stable.requests) >= rules.minimum_requests:
        return None
    return (
        f"found {canary.requests:.0f} requests to the canary and {stable.requests:.0f} to the stable version, expected "
        f"at least {rules.minimum_requests} each"
    )


@dataclass(frozen=True, slots=True)
class Faults:
    """A fault of the canary by the evidence of senders: a breach, or a doubt where too few of them met it."""

    breach: str | None = None
    doubt: str | None = None


def find_faults(evidence: Evidence, rules: Rules, share: float, holdout: Spread) -> Faults:
    """The first fault that more than a share of the senders met."""

    def is_slow(sender: Sender) -> bool:
        limit = max(rules.latency_factor * sender.stable_ms, sender.stable_ms + rules.latency_margin_ms)
        return bool(sender.slow) and sender.slow_ms > limit

    kinds: list[tuple[str, str, Callable[[Sender], bool], Callable[[Sender], float]]] = [
        ("errors", "requests that failed", lambda sender: sender.failures > 0, lambda sender: sender.failures),
        ("answers", "rows that are not a number", lambda sender: sender.nan > 0, lambda sender: sender.nan),
        ("latency", "answers that took too long", is_slow, lambda sender: sender.slow),
    ]
    doubt = None
    for name, what, is_witness, count in kinds:
        found = _judge_witnesses(evidence, rules, share, name, what, is_witness, count)
        if found.breach:
            return found
        doubt = doubt or found.doubt
    odd = _judge_answers(evidence, rules, holdout)
    return Faults(odd.breach, doubt or odd.doubt)


def _judge_witnesses(  # noqa: PLR0917  a row of the table above
    evidence: Evidence,
    rules: Rules,
    share: float,
    name: str,
    what: str,
    is_witness: Callable[[Sender], bool],
    count: Callable[[Sender], float],
) -> Faults:
    witnesses = evidence.find_witnesses(is_witness)
    total = sum(count(sender) for sender in witnesses)
    if total <= rules.tolerated_failures or not evidence.has_share(is_witness, share):
        return Faults()
    text = (
        f"{name}: found {total:.0f} {what} from {len(witnesses)} of {len(evidence.senders)} senders, which the stable "
        f"version answers well, expected at most {share:.0%} of the senders"
    )
    is_broad = len(witnesses) >= max(WITNESSES, rules.tolerated_failures + 1)
    if is_broad and evidence.holds_without_loudest(is_witness, share):
        return Faults(breach=text)
    return Faults(doubt=f"{text}; too few of them for a verdict")


def _judge_answers(evidence: Evidence, rules: Rules, holdout: Spread) -> Faults:
    everything = evidence.pool_answers()
    odd = _find_odd_answers(everything.canary, everything.stable, rules, holdout)
    loudness = {address: found.canary.rows for address, found in evidence.answers.items()}
    rest = evidence.without_loudest(loudness).pool_answers()
    if odd is None or _find_odd_answers(rest.canary, rest.stable, rules, holdout):
        return Faults(breach=odd)
    return Faults(doubt=f"{odd}; too few addresses for a verdict")


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
    # More answers than are tolerated lie above it, so that none decides alone.
    share = min(share, 1 - (rules.tolerated_failures + 0.5) / canary.answered)
    found, beside = canary.quantile_ms(share), stable.quantile_ms(share)
    limit = max(rules.latency_factor * beside, beside + rules.latency_margin_ms)
    if found <= limit:
        return None
    name = "median" if share == 0.5 else f"p{share * 100:.0f}"
    return f"latency: found a {name} of {found:.0f} ms, expected at most {limit:.0f} (the stable version: {beside:.1f})"


def _find_odd_answers(canary: Counters, stable: Counters, rules: Rules, holdout: Spread) -> str | None:
    """Answers that are neither those of the challenger's own holdout nor those of the stable version to the same rows.

    Far from its holdout alone is not the canary's fault: then what people ask is unusual, such as always the same row.
    """
    of_canary, of_stable = spread_of_counters(canary), spread_of_counters(stable)
    if min(of_canary.rows, of_stable.rows) < ENOUGH or not math.isfinite(of_canary.deviation + of_stable.deviation):
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


def _find_nan(canary: Counters, stable: Counters, rules: Rules) -> str | None:
    """Replayed rows that only the canary answers with what is not a number."""
    found = canary.nan_rows - stable.nan_rows
    if found <= rules.tolerated_failures:
        return None
    return f"answers: found {found:.0f} replayed rows that are not a number, expected none but the stable version's"
