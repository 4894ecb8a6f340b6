"""What the requests that the gateway drew for a canary show of it, by their senders.

A request counts for its sender: an address, and in it the user that it names or else its rows. Whoever sends much is
one sender, and an address has a bounded number of users, so that invented ones do not outnumber people. A fault counts
when the champion answers the same body without it and the challenger shows it again. The evidence of a rollout starts
with its mark, and holds hashes and counts: no address, no user, no row.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from time import perf_counter
from typing import Any

from serving.answering.served import Answer, ServedModel, Timer
from serving.answering.tally import Tally
from serving.figures import SENDER

SLOTS = 64
"""Addresses of a rollout, users of an address, and rows of an address: those beyond share their places."""

SAMPLES = 8
"""Answers to the same rows from the same address that are compared with the champion's."""

FAULTS = 20
"""Faults of one kind and sender after which no more are counted."""

PENDING = 16
PENDING_OF_ADDRESS = 4
"""Comparisons under way at once, in total and of one address; beyond, requests are answered and not compared."""

SLOW_SECONDS = 0.01
"""A faster answer is not slow, whatever the champion takes."""

NOTABLE = 1.5
"""How many times slower an answer must be than what is known of its sender to be compared."""

AGAIN_SECONDS = 10.0
HANG_SECONDS = 5.0
"""Longest wait for a second answer, and the computing time from which on it has failed."""

HASHED_BYTES = 2048

type Ask = Callable[[ServedModel, Timer], Awaitable[Answer]]
"""Asks a version the same request again."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A request that the gateway drew for the canary: who sent it, and how to ask it again."""

    address: bytes
    user: bytes
    body: bytes
    ask: Ask


@dataclass(slots=True)
class Sender:
    """One sender's requests that were answered, and the confirmed faults of the challenger in them."""

    requests: int = 0
    failures: int = 0
    nan: int = 0
    slow: int = 0
    slow_seconds: float = 0.0
    stable_seconds: float = 0.0
    usual_seconds: float = SLOW_SECONDS

    def list_numbers(self, address: int, user: int) -> list[float]:
        """Its numbers in the order of `SENDER`."""
        slow_ms, stable_ms = (round(1000 * value, 3) for value in (self.slow_seconds, self.stable_seconds))
        found = [address, user, self.requests, self.failures, self.nan, self.slow, slow_ms, stable_ms]
        assert len(found) == len(SENDER)  # noqa: S101  both sides must agree
        return found


@dataclass(slots=True)
class Answers:
    """Answers of both versions to the same requests of one address; each request weighs as much as one row."""

    samples: int = 0
    canary: Counter[str] = field(default_factory=Counter)
    stable: Counter[str] = field(default_factory=Counter)
    canary_values: list[float] = field(default_factory=lambda: [0.0, 0.0])
    stable_values: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def add(self, canary: Tally, stable: Tally) -> None:
        """Adds one request."""
        self.samples += 1
        _add_shares(self.canary, self.canary_values, canary)
        _add_shares(self.stable, self.stable_values, stable)


@dataclass(slots=True)
class Evidence:
    """The evidence about one version since a rollout's mark."""

    version: str
    mark: str
    senders: dict[tuple[int, int], Sender] = field(default_factory=dict)
    answers: dict[int, Answers] = field(default_factory=dict)
    samples: Counter[tuple[int, int]] = field(default_factory=Counter)

    def find_sender(self, drawn: Drawn) -> Sender:
        """The sender of a request, by its address and user; without a user, its rows take the user's place."""
        key = (self.hash(drawn.address), self.hash(drawn.user or b"\0" + drawn.body[:HASHED_BYTES]))
        return self.senders.setdefault(key, Sender())

    def hash(self, content: bytes) -> int:
        """A place that nobody can choose who does not know the mark."""
        return blake2b(content, digest_size=2, key=self.mark.encode()[:64]).digest()[0] % SLOTS

    def describe(self) -> dict[str, Any]:
        """As a rollout reads it."""
        return {
            "version": self.version,
            "mark": self.mark,
            "senders": [sender.list_numbers(*key) for key, sender in self.senders.items()],
            "answers": {str(address): _describe_answers(found) for address, found in self.answers.items()},
        }


class EvidenceBook:
    """The evidence of one replica, by model.

    >>> EvidenceBook().note(drawn, challenger, champion, mark, answer, seconds)
    """

    def __init__(self) -> None:
        # Counts that start again with a process must not be taken for a later reading of the same.
        self._process = os.urandom(8).hex()
        self._evidence: dict[str, Evidence] = {}
        self._tasks: dict[asyncio.Task[None], bytes] = {}

    def describe(self) -> Mapping[str, Any]:
        """The body of `EVIDENCE_PATH`."""
        return {"process": self._process, "models": {name: one.describe() for name, one in self._evidence.items()}}

    def note(  # noqa: PLR0917  what one request has
        self,
        drawn: Drawn,
        challenger: ServedModel,
        champion: ServedModel | None,
        mark: str,
        answer: Answer | None,
        seconds: float,
    ) -> None:
        """Counts an answered request, and compares one that failed, looks bad or is a sample with the champion."""
        evidence = self._find(challenger, mark)
        sender = None
        if answer is not None:
            sender = evidence.find_sender(drawn)
            sender.requests += 1
            if not _is_notable(evidence, drawn, sender, answer.tally, seconds):
                return
        if champion is None or self._is_busy(drawn.address):
            return
        comparison = Comparison(evidence, drawn, challenger, champion)
        todo = comparison.confirm_failure() if answer is None else comparison.compare(answer.tally, seconds)
        task = asyncio.get_running_loop().create_task(todo)
        self._tasks[task] = drawn.address
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    async def settle(self) -> None:
        """Waits for the comparisons that are under way."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    def _is_busy(self, address: bytes) -> bool:
        of_address = sum(1 for other in self._tasks.values() if other == address)
        return len(self._tasks) >= PENDING or of_address >= PENDING_OF_ADDRESS

    def _find(self, challenger: ServedModel, mark: str) -> Evidence:
        name, version = challenger.identity.name, challenger.identity.version
        found = self._evidence.get(name)
        if found is None or (found.version, found.mark) != (version, mark):
            found = self._evidence[name] = Evidence(version, mark)
        return found


@dataclass(frozen=True, slots=True)
class Comparison:
    """One request that both versions are asked."""

    evidence: Evidence
    drawn: Drawn
    challenger: ServedModel
    champion: ServedModel

    async def confirm_failure(self) -> None:
        """Counts a failure that the challenger alone has, again."""
        if await self._ask_champion(Timer()) is None or not await self._fails_again():
            return
        sender = self.evidence.find_sender(self.drawn)
        sender.requests += 1
        sender.failures = min(FAULTS, sender.failures + 1)

    async def compare(self, tally: Tally, seconds: float) -> None:
        """Compares an answer of the challenger with the champion's."""
        timer = Timer()
        beside = await self._ask_champion(timer)
        if beside is None:
            return
        sender = self.evidence.find_sender(self.drawn)
        if tally.nan_rows > beside.tally.nan_rows:
            sender.nan = min(FAULTS, sender.nan + 1)
        elif tally.rows == beside.tally.rows:
            address = self.evidence.hash(self.drawn.address)
            self.evidence.answers.setdefault(address, Answers()).add(tally, beside.tally)
        await self._note_speed(sender, seconds, timer.seconds)

    async def _note_speed(self, sender: Sender, seconds: float, stable_seconds: float) -> None:
        if _is_slower(seconds, stable_seconds):
            seconds = min(seconds, await self._measure_again())
        if not _is_slower(seconds, stable_seconds):
            sender.usual_seconds = max(sender.usual_seconds, seconds)
            return
        sender.slow = min(FAULTS, sender.slow + 1)
        if seconds - stable_seconds > sender.slow_seconds - sender.stable_seconds:
            sender.slow_seconds, sender.stable_seconds = seconds, stable_seconds

    async def _measure_again(self) -> float:
        """The challenger's seconds for the same request: a machine that was busy for a moment is not busy again."""
        timer = Timer()
        try:
            await asyncio.wait_for(self.drawn.ask(self.challenger, timer), AGAIN_SECONDS)
        except Exception:
            return 0.0
        return timer.seconds

    async def _ask_champion(self, timer: Timer) -> Answer | None:
        """The champion's answer; None where it fails or refuses the body as well."""
        try:
            return await asyncio.wait_for(self.drawn.ask(self.champion, timer), AGAIN_SECONDS)
        except Exception:
            return None

    async def _fails_again(self) -> bool:
        """Whether the challenger fails once more; a request that waits behind others has not failed."""
        timer = Timer()
        try:
            await asyncio.wait_for(self.drawn.ask(self.challenger, timer), AGAIN_SECONDS)
        except TimeoutError:
            return timer.begun_at is not None and perf_counter() - timer.begun_at > HANG_SECONDS
        except Exception:
            return True
        return False


def _is_notable(evidence: Evidence, drawn: Drawn, sender: Sender, tally: Tally, seconds: float) -> bool:
    """Whether an answer is to be compared: a sample, or one that may have a fault."""
    rows = (evidence.hash(drawn.address), evidence.hash(drawn.body[:HASHED_BYTES]))
    if evidence.samples[rows] < SAMPLES:
        evidence.samples[rows] += 1
        return True
    if tally.nan_rows and sender.nan < FAULTS:
        return True
    known = max(sender.usual_seconds, sender.slow_seconds if sender.slow >= FAULTS else 0.0)
    return seconds > NOTABLE * known


def _is_slower(seconds: float, stable_seconds: float) -> bool:
    return seconds > SLOW_SECONDS and seconds > 1.2 * stable_seconds


def _add_shares(classes: Counter[str], values: list[float], tally: Tally) -> None:
    for name, rows in tally.classes.items():
        classes[name] += rows / tally.rows  # type: ignore[assignment]
    if not tally.classes:
        values[0] += tally.value_sum / tally.rows
        values[1] += tally.value_squares / tally.rows


def _describe_answers(found: Answers) -> dict[str, Any]:
    values = {"canary_values": found.canary_values, "stable_values": found.stable_values}
    return {"samples": found.samples, "canary": found.canary, "stable": found.stable, **values}
