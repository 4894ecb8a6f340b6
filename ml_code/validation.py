"""Checks rows once, at the boundary: what comes out has the columns, types and ranges that the catalog promises."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml_code.datasets import ColumnCheck, Dataset
from ml_code.errors import DataCheckError


@dataclass(frozen=True, slots=True)
class CheckedRows:
    """Good rows with typed columns, and for each bad row, by its index, the first reason."""

    good: pd.DataFrame
    bad: dict[int, str]


def check_rows(dataset: Dataset, frame: pd.DataFrame) -> CheckedRows:
    """Types the declared columns, sorts out bad rows and repeated ones; columns that nobody declared stay as text.

    Raises:
        DataCheckError: a column is missing, no row is good, or more rows are bad than the catalog accepts.
    """
    missing = [name for name in dataset.columns if name not in frame.columns]
    if missing:
        raise DataCheckError(
            f"{dataset.name}: found no column {', '.join(missing)} among {', '.join(map(str, frame.columns))}, "
            "expected every column that the catalog declares; mend the source or the catalog"
        )
    frame = frame.reset_index(drop=True)
    typed = frame.assign(**{name: _type_column(dataset, name, frame[name]) for name in dataset.columns})
    bad: dict[int, str] = {}
    for name in dataset.columns:
        for index, reason in _find_bad_cells(dataset, name, frame[name], typed[name]).items():
            bad.setdefault(index, reason)
    if len(bad) > dataset.checks.bad_rows_share * len(frame) or len(bad) == len(frame):
        examples = "; ".join(f"row {index + 1}: {reason}" for index, reason in list(bad.items())[:3])
        raise DataCheckError(
            f"{dataset.name}: found {len(bad)} bad rows of {len(frame)} ({examples or 'no rows'}), "
            f"expected at most {dataset.checks.bad_rows_share:.0%}; mend the source or the catalog's checks"
        )
    good = typed.drop(index=list(bad)).drop_duplicates(subset=dataset.key, keep="last")
    return CheckedRows(_narrow_target(dataset, good.reset_index(drop=True)), bad)


def _is_number(dataset: Dataset, name: str) -> bool:
    return name in dataset.numeric or (name == dataset.target and dataset.task == "regression")


def _type_column(dataset: Dataset, name: str, column: pd.Series) -> pd.Series:
    if _is_number(dataset, name):
        numbers = pd.to_numeric(column, errors="coerce").astype("float64")
        return numbers.where(np.isfinite(numbers))
    return column.astype("str").str.strip().replace("", None)


def _narrow_target(dataset: Dataset, frame: pd.DataFrame) -> pd.DataFrame:
    """Class labels that are whole numbers throughout become int64, so that `/predict` answers numbers."""
    if dataset.task == "regression" or not frame[dataset.target].str.fullmatch(r"-?\d+").all():
        return frame
    return frame.assign(**{dataset.target: frame[dataset.target].astype("int64")})


def _find_bad_cells(dataset: Dataset, name: str, raw: pd.Series, typed: pd.Series) -> dict[int, str]:
    check = dataset.checks.columns.get(name, ColumnCheck())
    is_required = check.required or name in {dataset.target, dataset.key}
    found: dict[int, str] = {}
    is_given = raw.notna() & (raw.astype("str").str.strip() != "")
    problems = [(is_given & typed.isna(), "expected a number")]
    if is_required:
        problems.append((typed.isna(), "expected a value"))
    if check.minimum is not None:
        problems.append((pd.to_numeric(typed, errors="coerce") < check.minimum, f"expected at least {check.minimum:g}"))
    if check.maximum is not None:
        problems.append((pd.to_numeric(typed, errors="coerce") > check.maximum, f"expected at most {check.maximum:g}"))
    if check.allowed is not None:
        is_foreign = typed.notna() & ~typed.isin(_as_cells(check.allowed, _is_number(dataset, name)))
        problems.append((is_foreign, f"expected one of {', '.join(map(str, check.allowed))}"))
    for is_bad, expected in problems:
        for index in typed.index[is_bad]:
            found.setdefault(int(index), f"{name}: found {raw[index]!r}, {expected}")
    return found


def _as_cells(allowed: list[int | str], is_number: bool) -> list[float] | list[str]:
    return [float(value) for value in allowed] if is_number else [str(value) for value in allowed]
