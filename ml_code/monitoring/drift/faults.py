"""Faults of the data itself: a person is told of them, and no model is trained on them.

A sensor that delivers nothing or another unit looks like drift. A model that learns it would learn the fault.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import stats

from ml_code.dataset_rules import ColumnCheck
from ml_code.model_file.spec import Feature
from ml_code.monitoring.drift.columns import Column, align

EXCESS = 0.05
"""Share of a window's rows above the reference's share from which a fault counts."""

LEAST_CELLS = 5
CHANCE = 1e-4
"""Smaller than usual: twenty columns are checked in every window."""


def find_faults(feature: Feature, reference: Column, window: Column, check: ColumnCheck | None) -> Iterator[str]:
    """The faults of one feature's cells, each as a text."""
    if reference.kind != window.kind:
        yield f"{feature.name} is {window.kind} in the log, and {reference.kind} in the reference"
        return
    known, seen = align(reference, window)
    rows, missing = len(seen.cells), int(seen.is_missing.sum())
    if _exceeds(missing, rows, int(known.is_missing.sum()), len(known.cells)):
        yield f"{feature.name} is missing in {_share(missing, rows)}"
    if seen.kind == "numeric":
        yield from _find_outside(feature.name, known, seen, check)
    else:
        yield from _find_new(feature, known, seen)
    yield from _find_constant(feature.name, known, seen)


def find_refusals(refused: int, requests: int) -> Iterator[str]:
    """The requests that were refused, if they are many."""
    if refused >= LEAST_CELLS and refused >= EXCESS * requests:
        yield f"{refused} of {requests} requests were refused"


def _find_outside(name: str, known: Column, seen: Column, check: ColumnCheck | None) -> Iterator[str]:
    if check is None or (check.minimum is None and check.maximum is None):
        return
    low = -np.inf if check.minimum is None else np.float32(check.minimum)
    high = np.inf if check.maximum is None else np.float32(check.maximum)
    before, now = (int(((side.present < low) | (side.present > high)).sum()) for side in (known, seen))
    rows = len(seen.present)
    # What the catalog calls impossible needs no test, unless it is counted and not rejected.
    if _is_much(now, rows, before, len(known.present)) and (
        not before or _exceeds(now, rows, before, len(known.present))
    ):
        yield f"{name} is outside of the catalog's range in {_share(now, rows)}"


def _find_new(feature: Feature, known: Column, seen: Column) -> Iterator[str]:
    counts = np.bincount(known.present.astype(np.int64), minlength=len(known.names))
    categories = set(feature.categories or ())
    is_new = np.array([not count and name not in categories for count, name in zip(counts, known.names, strict=True)])
    if not is_new.any():
        return
    # Of a small reference the categories seen once tell how many were not seen at all (I. J. Good, 1953).
    once = int((counts == 1).sum())
    new = int(is_new[seen.present].sum())
    if _exceeds(new, len(seen.present), once, int(counts.sum())):
        yield f"{feature.name} has new categories in {_share(new, len(seen.present))}"


def _find_constant(name: str, known: Column, seen: Column) -> Iterator[str]:
    cells = seen.present
    if len(cells) < LEAST_CELLS or cells.min() != cells.max():
        return
    usual = float((known.present == cells[0]).mean()) if len(known.present) else 1.0
    # A reference of n rows without the value does not exclude that one in n rows has it.
    usual = max(usual, 1 / (len(known.present) + 1))
    if len(np.unique(known.present)) > 1 and usual ** len(cells) < CHANCE:
        yield f"{name} has the same value in every row"


def _exceeds(now: int, rows: int, before: int, known: int) -> bool:
    """Whether a count of a window is far above the reference's, and not by chance (Fisher's exact test)."""
    if not _is_much(now, rows, before, known):
        return False
    table = [[now, rows - now], [before, known - before]]
    return float(stats.fisher_exact(table, alternative="greater").pvalue) < CHANCE


def _is_much(now: int, rows: int, before: int, known: int) -> bool:
    return now >= LEAST_CELLS and now / rows - (before / known if known else 0.0) >= EXCESS


def _share(count: int, rows: int) -> str:
    return f"{count / rows:.0%} of {rows:,} rows"
