"""The result of each table, and the report in Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ml_code.draft.drafting import Draft
from tests.benchmarks.tables.public_tables import PublicTable

LARGEST_LOSS = 0.02
"""The product may be worse than the person by so much."""

LEAST_KEPT = 0.9

LEAST_ACCEPTED = 0.1
"""Share of bad rows that no option accepts."""

REJECTED = "rejected: "

NO_BETTER = re.compile(r"against (-?[0-9.e-]+) of a constant, not better by more than ([0-9.e-]+)")
"""The gate's reason where a model does not beat a constant by more than chance."""

SHOWN = 200

UNNAMED = re.compile(r"column \d+")
"""What the product calls a column without a name: pandas and R write the names of the rows there."""


@dataclass(slots=True)
class Result:
    """What became of one table; `problem` says where it ended, and is empty if it went through."""

    table: PublicTable
    seconds: float = 0.0
    problem: str = ""
    draft: Draft | None = None
    rows: int = 0
    metric: str = ""
    product: float | None = None
    person: float | None = None
    person_columns: list[str] = field(default_factory=list)

    @property
    def is_same_task(self) -> bool:
        """Whether product and person predict the same kind of value."""
        return self.draft is not None and self.draft.dataset.task == self.table.task

    @property
    def difference(self) -> float | None:
        """How much better the product is; None if the two do not compare."""
        return None if self.product is None or self.person is None else self.product - self.person

    @property
    def is_within(self) -> bool:
        """Whether the product is not much worse than the person."""
        return self.difference is not None and self.difference >= -LARGEST_LOSS

    @property
    def is_rightly_rejected(self) -> bool:
        """Whether the gate rejects the model, and would reject the person's too, for the threshold or the constant."""
        if self.draft is None or self.person is None or not self.problem.startswith(REJECTED):
            return False
        constant = NO_BETTER.search(self.problem)
        is_constant = constant is not None and self.person - float(constant[1]) <= float(constant[2])
        return is_constant or self.person < self.draft.dataset.gate.threshold

    def find_silence(self) -> str:
        """What went wrong without a line that says so, or an empty text."""
        draft = self.draft
        if draft is None:
            return ""
        if not self.is_same_task and not any("the task is guessed" in note for note in draft.notes):
            return f"task {draft.dataset.task}"
        accepted = draft.bad_rows if self.table.bad_rows > LEAST_ACCEPTED else 0
        if self.rows < LEAST_KEPT * (draft.rows - accepted):
            return f"{draft.rows - self.rows} of {draft.rows} rows lost"
        if numbering := [name for name in draft.dataset.features if UNNAMED.fullmatch(name)]:
            return f"learns from `{numbering[0]}`, the row's name"
        if self.difference is not None and not self.is_within and not self._explains_loss():
            return "a worse model"
        return ""

    def list_unused(self) -> dict[str, str]:
        """The columns that the product does not learn from, each with the reason."""
        if self.draft is None:
            return {}
        dataset = self.draft.dataset
        roles = {dataset.key: "the key", dataset.group: "the group"}
        return dict(self.draft.left_out) | {name: role for name, role in roles.items() if name is not None}

    def _explains_loss(self) -> bool:
        """Whether a column that the person uses is left out with a reason, or read in another way by a note."""
        assert self.draft is not None
        said = (" is read as ", " is a category", "one threshold", "gives the target away")
        return any(name in self.list_unused() for name in self.person_columns) or any(
            any(words in note for words in said) for note in self.draft.notes
        )


def summarize(results: Sequence[Result]) -> str:
    """The line of counts."""
    through = [result for result in results if not result.problem]
    rejected = [result for result in results if result.is_rightly_rejected]
    silent = [result for result in results if result.find_silence()]
    within = [result for result in results if result.is_within]
    short = len(results) - len(through) - len(rejected)
    return (
        f"{len(through)} of {len(results)} tables go through. The gate rejects {len(rejected)} others, "
        f"whose person's pipeline would not pass it either. {short} fall short, {len(silent)} are silently wrong, "
        f"and {len(within)} are at most {LARGEST_LOSS} worse than the person's pipeline."
    )


def write_report(results: Sequence[Result]) -> str:
    """The table of `docs/figures.md`."""
    lines = ["| table | target | rows kept | metric | product | person | left out, and what fell short | s |"]
    lines.append("|" + "---|" * 8)
    lines += ["| " + " | ".join(_describe(result)) + " |" for result in results]
    return "\n".join([*lines, "", summarize(results)])


def _describe(result: Result) -> list[str]:
    draft = result.draft
    rows = f"{result.rows:,} of {draft.rows:,}" if draft else ""
    return [
        result.table.name,
        f"`{result.table.target}`"
        + (f", `--bad-rows {result.table.bad_rows}`" if result.table.bad_rows > LEAST_ACCEPTED else ""),
        rows,
        result.metric.replace("_", " "),
        _show(result.product),
        _show(result.person),
        _explain(result),
        f"{result.seconds:.0f}",
    ]


def _explain(result: Result) -> str:
    parts = []
    if result.problem:
        parts.append(f"**{_shorten(result.problem)}**")
    if result.find_silence():
        parts.append(f"**silently: {result.find_silence()}**")
    if result.draft is not None:
        if not result.is_same_task:
            parts.append(f"**task guessed as {result.draft.dataset.task}, and said**")
        missed = [name for name in result.person_columns if name not in result.draft.dataset.features]
        parts += [f"`{name}`: {_shorten(result.list_unused().get(name, 'no reason'))}" for name in missed]
        if (result.difference or 0) > LARGEST_LOSS:
            known = result.person_columns
            more = ", ".join(f"`{name}`" for name in result.draft.dataset.features if name not in known)
            parts.append(f"learns from {more} too" if more else "")
        others = [name for name in result.list_unused() if name not in missed]
        if others:
            parts.append("also " + ", ".join(f"`{name}`" for name in others))
    return "; ".join(filter(None, parts))


def _shorten(text: str) -> str:
    words = re.sub(r"\s+", " ", text).replace("|", "/")
    return words if len(words) <= SHOWN else words[:SHOWN] + " ..."


def _show(score: float | None) -> str:
    return "" if score is None else f"{score:.3f}"
