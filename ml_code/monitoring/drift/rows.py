"""The rows of a window that count: one of each user, and a repeated row once where rows hardly ever repeat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ml_code.monitoring.drift.columns import Column, Places, Sample

RARE_REPEATS = 0.05
"""Share of a reference's rows up to which rows hardly ever repeat."""

EXCESS = 3.0
"""Repeats of a window are no chance from this factor above the reference's on."""

ODD = np.uint64(0x9E3779B97F4A7C15)

type Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Places of the rows that count, and how many users they come from; None where no user is known."""

    places: Places
    units: int | None


def choose_units(units: pa.ChunkedArray, random: np.random.Generator) -> Chosen:
    """Draws one row of each known user; rows without a user all count.

    One heavy user is no drift, and the rows of one user are not independent of each other.
    """
    coded = units.dictionary_encode().combine_chunks()
    if isinstance(coded, pa.ChunkedArray):
        coded = pa.concat_arrays(coded.chunks) if coded.num_chunks else pa.array([], coded.type)
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    known = np.flatnonzero(codes >= 0)
    if not len(known):
        return Chosen(np.arange(len(codes)), None)
    known = random.permutation(known)
    _, firsts = np.unique(codes[known], return_index=True)
    return Chosen(np.sort(np.concatenate([np.flatnonzero(codes < 0), known[firsts]])), len(firsts))


def drop_repeats(reference: Sample, window: Sample) -> Places:
    """Places of the window's rows, each repeated row once if its repeats are not those of the reference.

    A load test with fifty rows is no drift. Tables in which rows repeat often stay as they are.
    """
    everywhere = np.arange(window.rows)
    names = [name for name in reference.features if name in window.features]
    if not names or reference.rows < 2 or window.rows < 2:
        return everywhere
    known = hash_rows([reference.features[name] for name in names], reference.rows)
    repeats, pairs = 1 - len(np.unique(known)) / len(known), _count_pairs(known)
    if repeats > RARE_REPEATS:
        return everywhere
    # Three is the most that a count of none allows (with 95 %); it grows with the count.
    expected = (pairs + 3 + 2 * np.sqrt(pairs)) / _count_possible(len(known))
    hashes = hash_rows([window.features[name] for name in names], window.rows)
    if _count_pairs(hashes) / _count_possible(len(hashes)) <= EXCESS * expected:
        return everywhere
    return np.sort(np.unique(hashes, return_index=True)[1])


def hash_rows(columns: list[Column], rows: int) -> Hashes:
    """One number for each row, equal for rows whose cells are all equal."""
    found = np.zeros(rows, dtype=np.uint64)
    for column in columns:
        # All NaN are one missing cell, and -0 is 0.
        cells = np.where(column.is_missing, np.float32(np.nan), column.cells + np.float32(0)).astype(np.float32)
        found = (found ^ cells.view(np.uint32).astype(np.uint64)) * ODD
        found ^= found >> np.uint64(29)
    return found


def _count_pairs(hashes: Hashes) -> float:
    """Pairs of equal rows."""
    counts = np.unique(hashes, return_counts=True)[1].astype(np.float64)
    return float((counts * (counts - 1)).sum() / 2)


def _count_possible(rows: int) -> float:
    return rows * (rows - 1) / 2
