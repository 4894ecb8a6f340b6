"""What is found in the rows of one request: problems, and cells that training did not know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ml_code.model_file.feed import Rows
from ml_code.model_file.spec import Value
from serving.answering.cells import Kind, Reader
from serving.errors import Problem, RequestError
from serving.quoting import Quotes

MAX_PROBLEMS = 20
"""Most problems or warnings that one response names: the rest is the same mistake again."""


class ReadRows(NamedTuple):
    """The rows of a request.

    They are an array if they were checked as one. `warnings` are the first cells that training did not know, and
    `counts` is their number by kind.
    """

    rows: Rows
    warnings: Sequence[Problem] = ()
    counts: Mapping[Kind, int] = {}

    def list_warnings(self) -> list[dict[str, int | str | None]]:
        """The warnings as a response has them."""
        return [{"row": found.row, "field": found.field, "warning": found.problem} for found in self.warnings]

    def refuse(self) -> RequestError:
        """The error of a model whose dataset refuses what training did not know."""
        return make_refusal(self.warnings, sum(self.counts.values()), len(self.rows))


class Findings:
    """Collects the problems and warnings of one request."""

    def __init__(self) -> None:
        self.quotes = Quotes()
        self.problems: list[Problem] = []
        self._warnings: list[Problem] = []
        self._counts: Counter[Kind] = Counter()

    @property
    def is_full(self) -> bool:
        """Whether there are more problems than a response names."""
        return len(self.problems) > MAX_PROBLEMS

    def add(self, row: int, name: str | None, problem: str) -> None:
        """Adds a problem with a row, or with one of its fields."""
        self.problems.append(Problem(row, name, problem))

    def warn(self, row: int, reader: Reader, kind: Kind, value: Value) -> None:
        """Adds a cell that training did not know."""
        self._counts[kind] += 1
        if len(self._warnings) < MAX_PROBLEMS:
            self._warnings.append(Problem(row, reader.name, reader.explain(kind, value, self.quotes)))

    def finish(self, rows: Rows) -> ReadRows:
        """The rows with their warnings.

        Raises:
            RequestError: there is a problem (422).
        """
        if not self.problems:
            return ReadRows(rows, self._warnings, self._counts)
        raise make_refusal(self.problems, len(self.problems), len(rows))


def make_refusal(problems: Sequence[Problem], count: int, rows: int) -> RequestError:
    """The error of a request whose rows do not fit the model."""
    found = f"more than {MAX_PROBLEMS}" if count > MAX_PROBLEMS else f"{count}"
    message = f"{found} problem(s) in {rows} row(s) of the body; no row was answered"
    return RequestError(422, message, tuple(problems[:MAX_PROBLEMS]))
