"""What drawn requests showed of a canary, by their senders, and the rules that judge it; pure.

A sender is an address and a user of it. Faults were confirmed by the replica: the stable version answers the same
request without them. A sender who met one is a witness, however much anybody else asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from serving.comparison.counters import Counters

LEFT_OUT = 2
"""Addresses without which a verdict must hold, if there are others."""

WEIGHT = 100.0
"""Most requests that one address weighs where answers are compared, if there are others."""


@dataclass(frozen=True, slots=True)
class Sender:
    """One sender's answered requests and the challenger's faults in them; the milliseconds are of the worst one."""

    address: int
    user: int
    requests: float = 0
    failures: float = 0
    nan: float = 0
    slow: float = 0
    slow_ms: float = 0
    stable_ms: float = 0

    def plus(self, other: Sender) -> Sender:
        """The same sender's requests at another replica, or before a restart, added."""
        worse = max(self, other, key=lambda one: one.slow_ms - one.stable_ms)
        sums = {name: getattr(self, name) + getattr(other, name) for name in ("requests", "failures", "nan", "slow")}
        return Sender(self.address, self.user, slow_ms=worse.slow_ms, stable_ms=worse.stable_ms, **sums)


@dataclass(frozen=True, slots=True)
class Answered:
    """Both versions' answers to the same requests of one address."""

    canary: Counters = field(default_factory=Counters)
    stable: Counters = field(default_factory=Counters)

    def plus(self, other: Answered) -> Answered:
        """Both together."""
        return Answered(self.canary.plus(other.canary), self.stable.plus(other.stable))

    def weigh(self, most: float) -> Answered:
        """The same answers, which weigh as many requests at most."""
        factor = min(1.0, most / self.canary.rows) if self.canary.rows else 1.0
        return Answered(self.canary.times(factor), self.stable.times(factor))


@dataclass(frozen=True, slots=True)
class Evidence:
    """All senders of the drawn requests, and the answers by address."""

    senders: Mapping[tuple[int, int], Sender] = field(default_factory=dict)
    answers: Mapping[int, Answered] = field(default_factory=dict)

    @property
    def addresses(self) -> set[int]:
        """The addresses that sent anything."""
        return {address for address, _ in self.senders}

    def plus(self, other: Evidence) -> Evidence:
        """The evidence of another process added."""
        senders, answers = dict(self.senders), dict(self.answers)
        for key, sender in other.senders.items():
            senders[key] = senders[key].plus(sender) if key in senders else sender
        for address, found in other.answers.items():
            answers[address] = answers[address].plus(found) if address in answers else found
        return Evidence(senders, answers)

    def without_loudest(self, loudness: Mapping[int, float]) -> Evidence:
        """What is left without the loudest addresses; everything where there is one address alone."""
        count = min(LEFT_OUT, len(self.addresses) - 1)
        loudest = sorted(self.addresses, key=lambda address: loudness.get(address, 0.0), reverse=True)[: max(0, count)]
        return Evidence(
            {key: sender for key, sender in self.senders.items() if key[0] not in loudest},
            {address: found for address, found in self.answers.items() if address not in loudest},
        )

    def pool_answers(self) -> Answered:
        """All answers together, in which no address weighs more than `WEIGHT` if there are others."""
        most = WEIGHT if len(self.answers) > 1 else float("inf")
        total = Answered()
        for found in self.answers.values():
            total = total.plus(found.weigh(most))
        return total

    def find_witnesses(self, is_witness: Callable[[Sender], bool]) -> list[Sender]:
        """The senders who met a fault."""
        return [sender for sender in self.senders.values() if is_witness(sender)]

    def has_share(self, is_witness: Callable[[Sender], bool], share: float) -> bool:
        """Whether more than a share of the senders met a fault."""
        witnesses = self.find_witnesses(is_witness)
        return bool(witnesses) and len(witnesses) > share * len(self.senders)

    def holds_without_loudest(self, is_witness: Callable[[Sender], bool], share: float) -> bool:
        """Whether the same is so without the addresses that have the most witnesses."""
        loudness = Counter(sender.address for sender in self.find_witnesses(is_witness))
        return self.without_loudest(loudness).has_share(is_witness, share)


def read_evidence(body: Mapping[str, Any], model: str, version: str, mark: str) -> tuple[str, Evidence] | None:
    """The name of a replica's process and its evidence of a version since a rollout's mark; None without any."""
    found = body.get("models", {}).get(model)
    if not found or (found["version"], found["mark"]) != (version, mark):
        return None
    names = [one.name for one in fields(Sender)]
    senders = [Sender(**dict(zip(names, numbers, strict=True))) for numbers in found["senders"]]
    return str(body["process"]), Evidence(
        {(sender.address, sender.user): sender for sender in senders},
        {int(address): _read_answers(answers) for address, answers in found["answers"].items()},
    )


def _read_answers(found: Mapping[str, Any]) -> Answered:
    def read(pool: str) -> Counters:
        first, second = found[f"{pool}_values"]
        return Counters(rows=found["samples"], classes=found[pool], values=(first, second))

    return Answered(read("canary"), read("stable"))
