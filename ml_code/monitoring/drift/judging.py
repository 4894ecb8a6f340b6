"""The judgement of one window: clean, drift, quality, or no verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from ml_code.dataset_rules import ColumnCheck
from ml_code.model_file.spec import Feature
from ml_code.monitoring.drift.classifier import Separation, separate
from ml_code.monitoring.drift.columns import Column, Sample, read_sample
from ml_code.monitoring.drift.comparison import Comparison, Role, adjust, compare
from ml_code.monitoring.drift.faults import find_faults, find_refusals
from ml_code.monitoring.drift.rows import choose_units, drop_repeats
from ml_code.training.reference import Reference

LEAST_ROWS = 50
"""Rows below which a window, or a reference, says nothing."""

type Verdict = Literal["clean", "drift", "quality", "no verdict"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a window says of a version.

    `rows` are all of the window, `judged_rows` those that count, and `units` their users, None where none is known.
    """

    verdict: Verdict
    rows: int
    judged_rows: int = 0
    units: int | None = None
    reference_rows: int = 0
    comparisons: list[Comparison] = field(default_factory=list)
    separation: Separation | None = None
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def drifted(self) -> list[str]:
        """What differs, in words: the columns first."""
        names = [_name(found) for found in self.comparisons if found.is_drifted]
        if self.separation is None or not self.separation.is_drifted:
            return names
        joint = ", ".join(self.separation.features) or "all features"
        return [*names, f"the features together ({joint})"]

    def describe(self) -> dict[str, Any]:
        """Its figures for the warehouse."""
        return {
            "judged_rows": self.judged_rows,
            "reference_rows": self.reference_rows,
            "columns": [found.describe() for found in self.comparisons],
            "drifted": self.drifted,
            "area_under_curve": None if self.separation is None else round(self.separation.area, 4),
            "faults": self.faults,
            "notes": self.notes,
        }


def judge(
    reference: Reference | None,
    rows: pa.Table,
    checks: Mapping[str, ColumnCheck],
    *,
    refused: int = 0,
    requests: int | None = None,
    seed: int = 0,
) -> Judgement:
    """Judges the rows of a window.

    Args:
        reference: of the version that answered the rows; None if it has none.
        rows: of the prediction log, with the columns features, prediction, score and unit.
        checks: of the catalog, by column.
        refused: requests of the window that the version refused.
        requests: all of the window's requests; None: one for each row, and the refused ones.
        seed: for what is drawn; the same seed gives the same judgement.
    """
    random = np.random.default_rng(seed)
    faults = [*find_refusals(refused, rows.num_rows + refused if requests is None else requests)]
    if reference is None:
        return _give_none(rows, faults, "the version has no reference")
    known, window = read_sample(reference.rows), read_sample(rows)
    chosen = choose_units(rows.column("unit"), random)
    counted = window.take(chosen.places)
    counted = counted.take(drop_repeats(known, counted))
    units = chosen.units
    if counted.rows < LEAST_ROWS or known.rows < LEAST_ROWS:
        reason = f"{counted.rows} rows count and the reference has {known.rows}; at least {LEAST_ROWS} are needed"
        return _give_none(rows, faults, reason, judged_rows=counted.rows, units=units, reference_rows=known.rows)
    faults += [*_find_all_faults(reference.features, known, counted, checks)]
    comparisons, notes = _compare_all(known, counted, random)
    separation = separate(known, counted, random)
    found = Judgement("clean", rows.num_rows, counted.rows, units, known.rows, comparisons, separation, faults, notes)
    return _decide(found)


def _decide(found: Judgement) -> Judgement:
    if found.faults:
        return replace(found, verdict="quality")
    if found.drifted:
        return replace(found, verdict="drift")
    return found if found.comparisons else replace(found, verdict="no verdict")


def _give_none(rows: pa.Table, faults: list[str], reason: str, **counts: Any) -> Judgement:
    """A window that says nothing of drift; that its requests were refused is known all the same."""
    return Judgement("quality" if faults else "no verdict", rows.num_rows, faults=faults, notes=[reason], **counts)


def _find_all_faults(
    features: Sequence[Feature], known: Sample, window: Sample, checks: Mapping[str, ColumnCheck]
) -> Iterator[str]:
    for feature in features:
        if feature.name in window.features:
            columns = known.features[feature.name], window.features[feature.name]
            yield from find_faults(feature, *columns, checks.get(feature.name))


def _compare_all(known: Sample, window: Sample, random: np.random.Generator) -> tuple[list[Comparison], list[str]]:
    """Compares each column that both sides have; the others, and those that say nothing, are named."""
    compared: list[Comparison] = []
    notes = [f"{name} is not in the log" for name in known.features if name not in window.features]
    for role, before, now in _list_pairs(known, window):
        found = compare(role[1], role[0], before, now, random)
        if isinstance(found, Comparison):
            compared.append(found)
        elif role[0] == "feature":  # many models have no scores
            notes.append(f"{role[1]} {found}")
    return adjust(compared), notes


def _list_pairs(known: Sample, window: Sample) -> Iterator[tuple[tuple[Role, str], Column, Column]]:
    for name, column in known.features.items():
        if name in window.features:
            yield ("feature", name), column, window.features[name]
    yield ("prediction", "prediction"), known.answers["prediction"], window.answers["prediction"]
    yield ("score", "score"), known.answers["score"], window.answers["score"]


def _name(found: Comparison) -> str:
    return found.name if found.role == "feature" else f"the {found.role}"
