"""The kept list of mutants: one line of the product each, and the tests that must notice."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of a file: `find`, which stands there once, becomes `replace`.

    `what` says what goes wrong for a user, `survives` why no test notices, if that is accepted.
    """

    group: str
    id: str
    what: str
    file: str
    find: str
    replace: str
    tests: Sequence[str]
    survives: str = ""

    @property
    def name(self) -> str:
        """Its group and id."""
        return f"{self.group}/{self.id}"

    def apply(self, text: str) -> str:
        """Changes the text of its file.

        Raises:
            ValueError: the text does not hold `find` exactly once.
        """
        if (count := text.count(self.find)) != 1:
            raise ValueError(f"mutant {self.name}: found {self.find!r} {count} times in {self.file}, expected once")
        return text.replace(self.find, self.replace)


def load_mutants() -> list[Mutant]:
    """Reads the lists; a list names the file and the tests of its mutants once for several of them."""
    mutants = []
    for path in sorted(Path(__file__).parent.glob("*.toml")):
        for section in tomllib.loads(path.read_text())["section"]:
            shared = {"group": path.stem, "file": section["file"], "tests": section["tests"]}
            mutants += [Mutant(**{**shared, **mutant}) for mutant in section["mutants"]]
    return mutants
