"""The rows that a rollout replays to both versions, as their client sees the answers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from serving.comparison.analysis import Rules

TOLERANCE = 1e-3
"""Largest relative difference between an answer through the gateway and that of the file itself."""

WRONG_SHARE = 0.02
"""Share of replayed rows whose answer may differ from the file's."""

OK = 200
FAILED = frozenset({422, 500})
"""What a version makes of a row that it should answer; every other status is of a replica or gateway that is away."""


@dataclass(slots=True)
class Replays:
    """Counts of replayed rows: answers other than the file's, failures of a version, and rows that nobody answered."""

    rules: Rules
    rows: int = 0
    wrong: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    example: str = ""

    def add(self, variant: str, status: int, problem: str) -> None:
        """Counts an answer by its status."""
        if status == OK:
            return
        (self.failed if status in FAILED else self.missed)[variant] += 1
        if variant == "canary":
            self.example = self.example or f"status {status}, {problem}"

    def add_wrong(self, example: str) -> None:
        """Counts an answer of the canary that is not its file's."""
        self.wrong += 1
        self.example = self.example or example

    def find_breach(self) -> str | None:
        """The breach in the canary's answers; None without one."""
        if self._is_worse(self.failed):
            return self._describe(self.failed)
        if self.wrong > max(self.rules.tolerated_failures, WRONG_SHARE * self.rows):
            return (
                f"answers: found {self.wrong} of {self.rows} replayed rows with another answer than the file's, "
                f"such as {self.example}"
            )
        return None

    def find_absence(self) -> str | None:
        """The requests to the canary that nobody answered, where they are too many; None otherwise."""
        return self._describe(self.missed) if self._is_worse(self.missed) else None

    def _is_worse(self, counted: Counter[str]) -> bool:
        more = counted["canary"] - counted["stable"]
        return more > max(self.rules.tolerated_failures, self.rules.success_drop * self.rows)

    def _describe(self, counted: Counter[str]) -> str:
        return (
            f"errors: found {counted['canary'] - counted['stable']} more failures than of the stable version in "
            f"{self.rows} replayed rows, such as {self.example}"
        )


def is_same(expected: float | int | str, found: object, scale: float = 1.0) -> bool:
    """Whether an answer through the gateway is that of the file itself; `scale` is the unit of small numbers."""
    if isinstance(expected, float) and isinstance(found, (int, float)):
        return abs(expected - found) <= TOLERANCE * max(scale, abs(expected))
    return expected == found
