"""Simulated A/B tests: how often a difference is found where there is none, and where there is one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serving.comparison.experiment import Comparison, Losses, Plan, compare

LOOKS = 100


@dataclass(frozen=True, slots=True)
class ExperimentCase:
    """One answer in ten is wrong; users differ in how often, and each sticks to one version.

    Args:
        rows: labelled rows at the last look.
        share: of the users that the challenger answers.
        users: None: each row has a user of its own.
        difference: of the challenger's share of wrong answers, less the champion's.
    """

    rows: int = 4_000
    share: float = 0.5
    users: int | None = None
    difference: float = 0.0


@dataclass(frozen=True, slots=True)
class ExperimentOutcome:
    """Shares of experiments: with a winner at any look, and whose interval holds the truth at all looks."""

    winners: float
    coverage: float


def simulate_experiments(case: ExperimentCase, count: int) -> ExperimentOutcome:
    """Looks at experiments of the seeds from 0 on, each at all looks."""
    series = [look_often(case, seed) for seed in range(count)]
    winners = [any(found.verdict in {"better", "worse"} for found in looks) for looks in series]
    covered = [all(found.low <= case.difference <= found.high for found in looks) for looks in series]
    return ExperimentOutcome(float(np.mean(winners)), float(np.mean(covered)))


def look_often(case: ExperimentCase, seed: int) -> list[Comparison]:
    """All looks at one experiment."""
    draw = np.random.default_rng(seed)
    count = case.users or case.rows
    units = draw.integers(0, count, case.rows) if case.users else np.arange(case.rows)
    is_challenger = (draw.random(count) < case.share)[units]
    error_rate = (draw.beta(0.9, 8.1, count) if case.users else np.full(count, 0.1))[units]
    wrong = (draw.random(case.rows) < error_rate + np.where(is_challenger, case.difference, 0)).astype(float)
    plan = Plan(margin=0.05, variance=0.09, share=case.share)

    def look(seen: int) -> Comparison:
        ours = is_challenger[:seen]
        return compare(
            Losses(wrong[:seen][~ours], units[:seen][~ours]), Losses(wrong[:seen][ours], units[:seen][ours]), plan
        )

    return [look(case.rows * number // LOOKS) for number in range(1, LOOKS + 1)]
