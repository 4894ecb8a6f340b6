"""The comparison of one column: a test of significance, and how far the window is from the reference.

Both must agree. In small windows the distance is large by chance, and in large ones the test finds what harms nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from ml_code.monitoring.drift.columns import Column, Kind, align

TESTED_ROWS = 10_000
"""Most rows of each side that a test reads; a test on a million rows finds every rounding."""

SIGNIFICANCE = 0.01
"""Share of the columns that may be called drifted in clean windows, over all columns (Benjamini-Hochberg)."""

FLOOR = 0.1
"""Population stability index from which a difference counts; half a standard deviation is about 0.23."""

BINS = 10
RARE = 5.0
"""Categories with fewer expected rows than this are counted together."""

type Role = Literal["feature", "prediction", "score"]
type Counts = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """One column of a window beside the reference.

    `adjusted` is the p value after the correction for many columns. The shares are those of the bins `labels`.
    """

    name: str
    role: Role
    kind: Kind
    p: float
    psi: float
    labels: Sequence[str]
    reference_shares: Sequence[float]
    window_shares: Sequence[float]
    adjusted: float = 1.0

    @property
    def is_drifted(self) -> bool:
        """Whether the difference is both significant and large."""
        return self.adjusted <= SIGNIFICANCE and self.psi >= FLOOR

    def describe(self) -> dict[str, Any]:
        """Its figures for the warehouse."""
        figures = {"p": self.p, "adjusted": self.adjusted, "psi": self.psi}
        rounded = {name: float(f"{value:.4g}") for name, value in figures.items()}
        return {"name": self.name, "role": self.role, "kind": self.kind, **rounded, "drifted": self.is_drifted}


def compare(name: str, role: Role, reference: Column, window: Column, random: np.random.Generator) -> Comparison | str:
    """Compares a column; returns the reason where that says nothing."""
    if reference.kind != window.kind:
        return f"is {window.kind} in the log and {reference.kind} in the reference"
    before, now = align(reference, window)
    known, seen = before.present, now.present
    if not len(known) or not len(seen):
        return f"has only missing cells in the {'window' if len(known) else 'reference'}"
    if known.min() == known.max():
        return "is constant in the reference"
    sides = [_draw(cells, random) for cells in (known, seen)]
    if before.kind == "numeric":
        p = float(stats.ks_2samp(*sides, method="asymp").pvalue)
        labels, counts = _bin_numbers(known, seen)
    else:
        labels, counts = _pool(before.names, *(_count(cells, len(before.names)) for cells in (known, seen)))
        p = _test_counts(_pool(before.names, *(_count(cells, len(before.names)) for cells in sides))[1])
    shares = counts / counts.sum(axis=1, keepdims=True)
    return Comparison(name, role, before.kind, p, measure_psi(counts), labels, *(side.tolist() for side in shares))


def adjust(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Corrects the p values for their number.

    Y. Benjamini, Y. Hochberg, "Controlling the false discovery rate", 1995, doi:10.1111/j.2517-6161.1995.tb02031.x
    """
    if not comparisons:
        return []
    adjusted = stats.false_discovery_control([found.p for found in comparisons], method="bh")
    return [replace(found, adjusted=float(p)) for found, p in zip(comparisons, adjusted, strict=True)]


def measure_psi(counts: Counts) -> float:
    """The population stability index of two rows of counts: 0 if their shares are equal."""
    # Half a row more in each bin, or an empty one would be infinitely far away.
    shares = (counts + 0.5) / (counts + 0.5).sum(axis=1, keepdims=True)
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def _draw(cells: npt.NDArray[Any], random: np.random.Generator) -> npt.NDArray[Any]:
    return cells if len(cells) <= TESTED_ROWS else cells[random.integers(0, len(cells), TESTED_ROWS)]


def _bin_numbers(known: npt.NDArray[Any], seen: npt.NDArray[Any]) -> tuple[list[str], Counts]:
    """Counts in the ten quantile bins of the reference; a value that fills a bin alone has a bin of its own."""
    inner = np.quantile(known, np.arange(1, BINS) / BINS, method="inverted_cdf").astype(np.float32)
    values, times = np.unique(inner, return_counts=True)
    heavy = values[(times > 1) | (values == known.min())]
    edges = np.unique(np.concatenate([values, np.nextafter(heavy, np.float32(-np.inf))]))
    counts = np.stack([np.bincount(np.searchsorted(edges, side), minlength=len(edges) + 1) for side in (known, seen)])
    limits = [None, *edges.tolist(), None]
    labels = [_label_bin(low, high) for low, high in pairwise(limits)]
    filled = np.flatnonzero(counts.sum(axis=0))
    return [labels[place] for place in filled], counts[:, filled].astype(np.float64)


def _label_bin(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return f"to {high:.4g}" if low is None else f"above {low:.4g}"
    return f"{high:.4g}" if np.nextafter(np.float32(low), np.float32(np.inf)) >= high else f"{low:.4g} to {high:.4g}"


def _count(codes: npt.NDArray[Any], names: int) -> Counts:
    return np.bincount(codes, minlength=names).astype(np.float64)


def _pool(names: Sequence[str], known: Counts, seen: Counts) -> tuple[list[str], Counts]:
    """Counts of the common categories, and of all others together."""
    counts = np.stack([known, seen])
    expected = counts.sum(axis=0) * counts.sum(axis=1).min() / counts.sum()
    common = expected >= RARE
    rest = counts[:, ~common].sum(axis=1, keepdims=True)
    labels = [name for name, is_common in zip(names, common, strict=True) if is_common]
    if rest.sum() == 0:
        return labels, counts[:, common]
    return [*labels, "others"], np.hstack([counts[:, common], rest])


def _test_counts(counts: Counts) -> float:
    """The p value of Pearson's test; a single category says nothing."""
    if counts.shape[1] < 2:
        return 1.0
    return float(stats.chi2_contingency(counts, correction=False).pvalue)
