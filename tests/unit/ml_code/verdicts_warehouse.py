"""A warehouse whose log says nothing but the verdicts on a model's versions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class VerdictsWarehouse:
    """Answers every statement with the version and verdict of each version that has one."""

    def __init__(self, **verdicts: str) -> None:
        self.verdicts = {name.removeprefix("version_"): verdict for name, verdict in verdicts.items()}

    @contextmanager
    def transaction(self) -> Iterator[VerdictsWarehouse]:
        yield self

    @contextmanager
    def cursor(self) -> Iterator[VerdictsWarehouse]:
        yield self

    def execute(self, statement: str, values: dict[str, str]) -> None:
        assert "is_verdict" in statement

    def fetchall(self) -> list[tuple[str, str]]:
        return list(self.verdicts.items())
