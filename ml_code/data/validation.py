"""Checks rows once, at the boundary: what comes out has the columns, types and ranges that the catalog promises."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pandera.pandas as pa

from ml_code.data.csv_records import show_names
from ml_code.datasets import ColumnCheck, Dataset
from ml_code.errors import DataCheckError

WHOLE_NUMBER = r"0|-?[1-9][0-9]{0,17}"
"""A class label that is a number: as int64 holds it, and as it is written back; 007 stays a text."""

LARGEST_NUMBER = float(np.finfo(np.float32).max)
"""A model computes in float32: a larger number would be infinite there, and no library trains on that."""

SHOWN_CELL = 300
"""How much of a cell a reason shows: it travels through Airflow's database and into logs."""


@dataclass(frozen=True, slots=True)
class BadCell:
    """The first thing wrong with a row."""

    column: str
    reason: str


@dataclass(frozen=True, slots=True)
class CheckedRows:
    """Good rows with typed columns under the index that they came with, and what is wrong with the others, by index."""

    good: pd.DataFrame
    bad: Mapping[int, BadCell]


def check_rows(dataset: Dataset, frame: pd.DataFrame) -> CheckedRows:
    """Types the declared columns and sorts out bad rows; columns that nobody declared stay as they are.

    Args:
        dataset: what is declared.
        frame: cells as text, or already typed by an earlier check; a missing one is NaN.

    Raises:
        DataCheckError: a column is missing.
    """
    refuse_missing_columns(dataset, list(frame.columns))
    cells = frame.assign(**{name: strip_cells(frame[name]) for name in dataset.columns})
    bad = find_bad_cells(make_schema(dataset), cells)
    good = cells.drop(index=list(bad))
    numbers = {
        name: pd.to_numeric(good[name]).astype("float64") for name in dataset.columns if _is_number(dataset, name)
    }
    return CheckedRows(good.assign(**numbers), bad)


def refuse_missing_columns(dataset: Dataset, found: list[str]) -> None:
    """Refuses a header that lacks a declared column.

    Raises:
        DataCheckError: it does.
    """
    if missing := [name for name in dataset.columns if name not in found]:
        raise DataCheckError(
            f"{dataset.name}: found no column {', '.join(missing)} among {show_names(found)}, "
            "expected every column that the catalog declares; fix the source or the catalog"
        )


def strip_cells(cells: pd.Series) -> pd.Series:
    """Text without the blanks around it, or missing where nothing is left; typed numbers stay as they are."""
    if pd.api.types.is_float_dtype(cells):
        return cells
    return cells.astype("str").str.strip().replace("", None)


def find_bad_cells(schema: pa.DataFrameSchema, frame: pd.DataFrame) -> dict[int, BadCell]:
    """For each row that breaks the schema, by its index, the first cell that does so in the order of the columns."""
    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        cases = error.failure_cases
    else:
        return {}
    bad: dict[int, BadCell] = {}
    for column, check, index in zip(cases["column"], cases["check"], cases["index"], strict=True):
        expected = "expected a value" if check == "not_nullable" else check
        found = "nothing" if check == "not_nullable" else show_cell(frame.at[index, column])
        bad.setdefault(int(index), BadCell(str(column), f"found {found}, {expected}"))
    return bad


def show_cell(cell: object) -> str:
    """A cell as it stands in a reason, cut where it is long."""
    text = repr(cell)
    return text if len(text) <= SHOWN_CELL else f"{text[:SHOWN_CELL]}... ({len(text)} characters)"


def refuse_too_many_bad(name: str, bad: Iterable[str], bad_rows: int, rows: int, accepted_share: float) -> None:
    """Refuses a file with more bad rows than are accepted, or with no good one.

    Args:
        name: of the file or dataset, for the message.
        bad: what is wrong with the first few.
        bad_rows: how many there are.
        rows: how many were read.
        accepted_share: of the rows, from 0 to 1.

    Raises:
        DataCheckError: there are more.
    """
    if bad_rows > accepted_share * rows or bad_rows == rows:
        raise DataCheckError(
            f"{name}: found {bad_rows} bad rows of {rows} ({'; '.join(bad) or 'no rows'}), "
            f"expected at most {accepted_share:.0%}; fix the file or the checks"
        )


def narrow_target(dataset: Dataset, frame: pd.DataFrame) -> pd.DataFrame:
    """Makes class labels that are whole numbers throughout int64, so that `/predict` answers numbers."""
    if dataset.task == "regression" or not frame[dataset.target].str.fullmatch(WHOLE_NUMBER).all():
        return frame
    return frame.assign(**{dataset.target: frame[dataset.target].astype("int64")})


def make_schema(dataset: Dataset) -> pa.DataFrameSchema:
    """What the cells of the declared columns must keep to, as text or typed; a missing one breaks no other check."""
    return pa.DataFrameSchema({name: _make_column(dataset, name) for name in dataset.columns})


def _make_column(dataset: Dataset, name: str) -> pa.Column:
    check = dataset.checks.columns.get(name, ColumnCheck())
    checks = []
    if _is_number(dataset, name):
        checks.append(pa.Check(_is_finite, error="expected a number"))
    if (minimum := check.minimum) is not None:
        checks.append(pa.Check(lambda cells: ~(_to_numbers(cells) < minimum), error=f"expected at least {minimum:g}"))
    if (maximum := check.maximum) is not None:
        checks.append(pa.Check(lambda cells: ~(_to_numbers(cells) > maximum), error=f"expected at most {maximum:g}"))
    if check.allowed is not None:
        checks.append(_make_choice(check.allowed, is_number=_is_number(dataset, name)))
    is_required = check.required or name in {dataset.target, dataset.key}
    return pa.Column(None, checks, nullable=not is_required)


def _make_choice(allowed: list[int | str], *, is_number: bool) -> pa.Check:
    expected = f"expected one of {', '.join(map(str, allowed))}"
    if is_number:
        values = [float(value) for value in allowed]
        return pa.Check(lambda cells: _to_numbers(cells).isin(values), error=expected)
    texts = [str(value) for value in allowed]
    return pa.Check(lambda cells: cells.isin(texts), error=expected)


def _is_number(dataset: Dataset, name: str) -> bool:
    return name in dataset.numeric or (name == dataset.target and dataset.task == "regression")


def _is_finite(cells: pd.Series) -> pd.Series:
    return _to_numbers(cells).abs() <= LARGEST_NUMBER


def _to_numbers(cells: pd.Series) -> pd.Series:
    return pd.to_numeric(cells, errors="coerce")
