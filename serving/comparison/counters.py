"""Figures of one version from a replica's `/metrics`, and their part within the observed time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from serving.figures import LIVE

PREFIX = "mlops_prediction_"

_SAMPLE = re.compile(rf"^{PREFIX}(\w+)\{{(.*)\}} (\S+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

type Key = tuple[str, str]
"""A version, and the traffic: live or replay."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Counts of one version's answers: `buckets` are answers by their upper bound in seconds, each with those below.

    `values` are the sum of the predicted figures and of their squares, of regressions only.
    """

    buckets: Mapping[float, float] = field(default_factory=dict)
    failures: float = 0.0
    rows: float = 0.0
    nan_rows: float = 0.0
    classes: Mapping[str, float] = field(default_factory=dict)
    values: tuple[float, float] = (0.0, 0.0)

    @property
    def answered(self) -> float:
        """Requests that got a prediction."""
        return self.buckets.get(inf, 0.0)

    @property
    def requests(self) -> float:
        """Requests that were answered, and those that failed by the version's fault."""
        return self.answered + self.failures

    def quantile_ms(self, share: float) -> float:
        """The latency that a share of the answers kept to, in ms, on a line within its bucket as Prometheus has it."""
        rank, below, lower = share * self.answered, 0.0, 0.0
        for upper, count in sorted(self.buckets.items()):
            if count >= rank and count > below:
                if upper == inf:
                    return lower * 1000
                return 1000 * (lower + (upper - lower) * (rank - below) / (count - below))
            below, lower = count, upper
        return 0.0

    def plus(self, other: Counters) -> Counters:
        """The sum of both."""
        return _combine(self, other, 1.0)

    def times(self, factor: float) -> Counters:
        """The same shares of another number of requests."""
        return _combine(Counters(), self, factor)

    def since(self, earlier: Counters) -> Counters:
        """The counts since an earlier reading; all of them after a restart in between, which starts from zero."""
        if self.answered < earlier.answered or self.failures < earlier.failures or self.rows < earlier.rows:
            return self
        return _combine(self, earlier, -1.0)


type Reading = Mapping[Key, Counters]
"""Counters of one model on one replica."""


class Totals:
    """Sums the counts of all replicas since the first reading.

    >>> totals = Totals(fleet.read_figures("iris"))
    >>> totals.add(fleet.read_figures("iris"))
    >>> totals.read("4", "live").requests
    212.0
    """

    def __init__(self, first: Mapping[str, Reading]) -> None:
        self._last = dict(first)
        self._totals: dict[Key, Counters] = {}

    def add(self, figures: Mapping[str, Reading]) -> None:
        """Adds a later reading; an address that was not seen before counts from now on."""
        for address, reading in figures.items():
            before = self._last.get(address)
            if before is not None:
                for key, counters in reading.items():
                    came = counters.since(before.get(key, Counters()))
                    self._totals[key] = self._totals.get(key, Counters()).plus(came)
            self._last[address] = reading

    def read(self, version: str, traffic: str) -> Counters:
        """The counts of a version so far."""
        return self._totals.get((version, traffic), Counters())


def read_counters(text: str, model: str) -> Reading:
    """Reads the counters of a model from Prometheus's text."""
    found: dict[Key, dict[str, dict[str, float]]] = {}
    for name, rest, value in _SAMPLE.findall(text):
        labels = {label: _unescape(content) for label, content in _LABEL.findall(rest)}
        if labels.get("model") != model or "version" not in labels:
            continue
        samples = found.setdefault((labels["version"], labels.get("traffic", LIVE)), {})
        part = samples.setdefault(name.removesuffix("_total"), {})
        # A version may count as challenger and as champion: both are its own.
        of = labels.get("le") or labels.get("class") or ""
        part[of] = part.get(of, 0.0) + float(value)
    return {key: _make_counters(samples) for key, samples in found.items()}


def _make_counters(samples: Mapping[str, Mapping[str, float]]) -> Counters:
    def read(name: str) -> float:
        return samples.get(name, {}).get("", 0.0)

    return Counters(
        buckets={float(bound): count for bound, count in samples.get("seconds_bucket", {}).items()},
        failures=read("failures"),
        rows=read("rows"),
        nan_rows=read("nan_rows"),
        classes=samples.get("classes", {}),
        values=(read("value_sum"), read("value_squares")),
    )


def _combine(one: Counters, other: Counters, sign: float) -> Counters:
    bounds, names = {**one.buckets, **other.buckets}, {**one.classes, **other.classes}
    return Counters(
        buckets={bound: one.buckets.get(bound, 0.0) + sign * other.buckets.get(bound, 0.0) for bound in bounds},
        failures=one.failures + sign * other.failures,
        rows=one.rows + sign * other.rows,
        nan_rows=one.nan_rows + sign * other.nan_rows,
        classes={name: one.classes.get(name, 0.0) + sign * other.classes.get(name, 0.0) for name in names},
        values=(one.values[0] + sign * other.values[0], one.values[1] + sign * other.values[1]),
    )


def _unescape(text: str) -> str:
    return text.replace(r"\n", "\n").replace(r"\"", '"').replace(r"\\", "\\")
