"""Checks rows once, at the boundary: the result has the catalog's columns, types and ranges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pandera.pandas as pa

from ml_code.cells import name_category
from ml_code.data.frames import replace_columns
from ml_code.dataset_rules import ColumnCheck
from ml_code.datasets import Dataset
from ml_code.errors import DataCheckError
from ml_code.reading.grammar import show_columns
from ml_code.reading.numbers import read_numbers

WHOLE_NUMBER = r"0|-?[1-9][0-9]{0,17}"
"""A class label that is a number: int64 holds it and prints it unchanged; 007 stays a text."""

LARGEST_NUMBER = float(np.finfo(np.float32).max)
"""A model computes in float32: a larger number would be infinite, and libraries refuse that."""

SHOWN_CELL = 200
"""Length of a cell in a reason, which goes to the report in quarantine."""


@dataclass(frozen=True, slots=True)
class BadCell:
    """The first fault of a row."""

    column: str
    reason: str


@dataclass(frozen=True, slots=True)
class CheckedRows:
    """Valid rows with typed columns and their original index, and the fault of each other row by index."""

    good: pd.DataFrame
    bad: Mapping[int, BadCell]


def check_rows(dataset: Dataset, frame: pd.DataFrame) -> CheckedRows:
    """Types the declared columns and separates invalid rows; undeclared columns stay unchanged.

    Args:
        dataset: declares the columns.
        frame: cells as text, or typed by an earlier check; a missing cell is NaN.

    Raises:
        DataCheckError: a column is missing.
    """
    refuse_missing_columns(dataset, list(frame.columns))
    typed: dict[str, pd.Series] = {}
    bad: dict[int, BadCell] = {}
    for name in dataset.columns:
        if _is_number(dataset, name):
            typed[name], unread = _read_number_column(dataset, name, frame[name])
            bad |= {index: cell for index, cell in unread.items() if index not in bad}
        else:
            typed[name] = read_texts(frame[name], dataset.reading.list_markers(name, is_number=False))
    cells = replace_columns(frame, typed)
    for index, cell in find_bad_cells(make_schema(dataset), cells.drop(index=list(bad)), shown=frame).items():
        bad.setdefault(index, cell)
    good = cells.drop(index=list(bad))
    return CheckedRows(good, bad)


def refuse_missing_columns(dataset: Dataset, found: list[str]) -> None:
    """Refuses a header that lacks a declared column.

    Raises:
        DataCheckError: a declared column is missing.
    """
    if missing := [name for name in dataset.columns if name not in found]:
        raise DataCheckError(
            f"{dataset.name}: found no column {', '.join(missing)} among {show_columns(found, dataset.columns)}, "
            "expected every column that the catalog declares; fix the source or the catalog"
        )


def read_texts(cells: pd.Series, markers: frozenset[str] = frozenset()) -> pd.Series:
    """The canonical text of each cell; a missing one is None."""
    markers = frozenset(map(name_category, markers))
    codes, distinct = pd.factorize(cells)
    names = [name_category(cell) for cell in distinct.tolist()]
    texts = np.array([*(None if name in markers or not name else name for name in names), None], dtype=object)
    return pd.Series(texts[codes], index=cells.index, dtype="str")


def _read_number_column(dataset: Dataset, name: str, cells: pd.Series) -> tuple[pd.Series, dict[int, BadCell]]:
    """A column as float64, and its cells that are not numbers which float32 holds."""
    reading = dataset.reading
    found = read_numbers(cells, reading.find_form(name), reading.list_markers(name, is_number=True))
    is_bad = found.is_bad | (found.numbers.abs() > LARGEST_NUMBER)
    reason = "expected a number"
    return found.numbers, {
        int(index): BadCell(name, f"found {show_cell(cells[index])}, {reason}") for index in cells.index[is_bad]
    }


def count_outside(dataset: Dataset, good: pd.DataFrame) -> dict[str, int]:
    """Counts the valid rows whose number is outside of a range that does not reject, by column."""
    counts = {}
    for name, check in dataset.checks.columns.items():
        if not check.reject and name in good and _is_number(dataset, name):
            low = -np.inf if check.minimum is None else check.minimum
            high = np.inf if check.maximum is None else check.maximum
            counts[name] = int((good[name].lt(low) | good[name].gt(high)).sum())
    return {name: count for name, count in counts.items() if count}


def find_bad_cells(
    schema: pa.DataFrameSchema, frame: pd.DataFrame, shown: pd.DataFrame | None = None
) -> dict[int, BadCell]:
    """The first invalid cell of each row that breaks the schema, by the row's index, in the order of the columns.

    Args:
        schema: of the columns.
        frame: typed cells.
        shown: the cells as they came, for the reasons; None: `frame`.
    """
    shown = frame if shown is None else shown
    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        cases = error.failure_cases
    else:
        return {}
    bad: dict[int, BadCell] = {}
    for column, check, index in zip(cases["column"], cases["check"], cases["index"], strict=True):
        expected = "expected a value" if check == "not_nullable" else check
        found = "nothing" if check == "not_nullable" else show_cell(shown.at[index, column])
        bad.setdefault(int(index), BadCell(str(column), f"found {found}, {expected}"))
    return bad


def show_cell(cell: object) -> str:
    """A cell for a reason, shortened if it is long."""
    text = repr(cell)
    return text if len(text) <= SHOWN_CELL else f"{text[:SHOWN_CELL]}... ({len(text)} characters)"


def refuse_too_many_bad(name: str, bad: Iterable[str], bad_rows: int, rows: int, accepted_share: float) -> None:
    """Refuses a file with too many bad rows, or without a valid one.

    Args:
        name: of the file or dataset, for the message.
        bad: faults of the first few rows, without their cells.
        bad_rows: number of bad rows.
        rows: number of all rows.
        accepted_share: largest share of bad rows, from 0 to 1.

    Raises:
        DataCheckError: there are too many.
    """
    if bad_rows > accepted_share * rows or bad_rows == rows:
        raise DataCheckError(
            f"{name}: found {bad_rows} bad rows of {rows} ({'; '.join(bad) or 'no rows'}), "
            f"expected at most {accepted_share:.0%}; fix the file or the checks"
        )


def narrow_target(dataset: Dataset, frame: pd.DataFrame) -> pd.DataFrame:
    """Converts class labels to int64 if all are whole numbers, so that `/predict` responds with numbers."""
    if not find_whole_labels(dataset, frame).all():
        return frame
    return replace_columns(frame, {dataset.target: frame[dataset.target].astype("int64")})


def find_whole_labels(dataset: Dataset, frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Whether the label of each row is a whole number; a value of a regression is no label."""
    if dataset.task == "regression":
        return np.zeros(len(frame), bool)
    return frame[dataset.target].str.fullmatch(WHOLE_NUMBER).to_numpy(bool)


def make_schema(dataset: Dataset) -> pa.DataFrameSchema:
    """What the cells of the declared columns must keep to, as text or typed; a missing one breaks no other check."""
    return pa.DataFrameSchema({name: _make_column(dataset, name) for name in dataset.columns})


def _make_column(dataset: Dataset, name: str) -> pa.Column:
    check = dataset.checks.columns.get(name, ColumnCheck())
    checks = []
    if (minimum := check.minimum) is not None and check.reject:
        checks.append(pa.Check(lambda cells: ~(cells < minimum), error=f"expected at least {_write(minimum)}"))
    if (maximum := check.maximum) is not None and check.reject:
        checks.append(pa.Check(lambda cells: ~(cells > maximum), error=f"expected at most {_write(maximum)}"))
    if check.allowed is not None:
        checks.append(_make_choice(check.allowed, is_number=_is_number(dataset, name)))
    is_required = check.required or name in {dataset.target, dataset.key}
    return pa.Column(None, checks, nullable=not is_required)


def _make_choice(allowed: list[int | str], *, is_number: bool) -> pa.Check:
    expected = f"expected one of {', '.join(map(str, allowed))}"
    if is_number:
        values = [float(value) for value in allowed]
        return pa.Check(lambda cells: cells.isin(values), error=expected)
    texts = [name_category(value) for value in allowed]
    return pa.Check(lambda cells: cells.isin(texts), error=expected)


def _write(number: float) -> str:
    """All digits of a number, and no decimal places of a whole one."""
    return str(int(number)) if number.is_integer() else repr(number)


def _is_number(dataset: Dataset, name: str) -> bool:
    return name in dataset.numeric or (name == dataset.target and dataset.task == "regression")
