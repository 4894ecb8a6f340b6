"""Reads a whole table into compact columns: plain numbers as float64, other cells as text with few copies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from ml_code.cells import name_category
from ml_code.errors import SourceError
from ml_code.reading.blocks import BadRow
from ml_code.reading.rules import Reading
from ml_code.reading.table import open_table, recognize_table

MOST_DIGITS = 15
"""A number with more digits is not exact in float64, so its column stays text."""

KEPT_BAD_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Table:
    """A file in memory.

    `frame` has one float64 or str column for each name of the header, and the number of the line as its index.
    `bad` are the first malformed lines of all `bad_rows`; `notes` say how the file is written.
    """

    frame: pd.DataFrame
    bad: list[BadRow]
    bad_rows: int
    reading: Reading
    notes: list[str]


class _Column:
    """Collects the cells of one column, block by block."""

    def __init__(self) -> None:
        self._parts: list[npt.NDArray[np.float64] | pa.DictionaryArray] = []
        self._is_text = False

    def add(self, cells: pd.Series) -> None:
        numbers = None if self._is_text else _to_plain_numbers(cells)
        self._is_text = numbers is None
        self._parts.append(
            numbers if numbers is not None else pa.array(cells, pa.large_string(), from_pandas=True).dictionary_encode()
        )

    def to_series(self, lines: npt.NDArray[np.int64]) -> pd.Series:
        if not self._is_text:
            return pd.Series(np.concatenate(self._parts), index=lines)
        parts = [_to_texts(part) for part in self._parts]
        self._parts = []
        return pd.Series(pa.chunked_array(parts).to_pandas().to_numpy(), index=lines, dtype="str")


def read_table(path: Path, sheet: str | None = None) -> Table:
    """Reads a file of any kind, as `reading.table` recognizes it.

    Raises:
        SourceError: there is no such file, or it is not a table.
    """
    if not path.is_file():
        raise SourceError(f"{path}: found no file, expected a table such as a CSV file; correct the path")
    with path.open("rb") as stream:
        recognized = recognize_table(stream, path.name, sheet)
        records = open_table(stream, path.name, recognized.reading)
        columns = {name: _Column() for name in records.header}
        lines: list[npt.NDArray[np.int64]] = []
        bad: list[BadRow] = []
        bad_rows = 0
        for block in records:
            for name, column in columns.items():
                column.add(block.frame[name])
            lines.append(np.array(block.lines, dtype=np.int64))
            bad += block.bad[: KEPT_BAD_ROWS - len(bad)]
            bad_rows += len(block.bad)
    index = np.concatenate(lines)
    frame = pd.DataFrame({name: column.to_series(index) for name, column in columns.items()}, index=index)
    return Table(frame, bad, bad_rows, recognized.reading, recognized.notes)


def _to_plain_numbers(cells: pd.Series) -> npt.NDArray[np.float64] | None:
    """The cells as float64, NaN where empty; None if one is not a plain number or has leading zeros."""
    texts = cells.str.strip()
    present = texts[texts.notna() & (texts != "")]
    numbers = pd.to_numeric(present, errors="coerce").astype("float64")
    if not np.isfinite(numbers).all() or present.str.len().gt(MOST_DIGITS + 2).any() or _has_code(present):
        return None
    return np.asarray(numbers.reindex(cells.index), dtype=np.float64)


def _has_code(texts: pd.Series) -> bool:
    """Whether a number begins with 0 and another digit, as zip codes do."""
    begins = texts[texts.str.startswith("0")]
    return bool(begins.str.match(r"0[0-9]").any())


def _to_texts(part: npt.NDArray[np.float64] | pa.DictionaryArray) -> pa.Array:
    if isinstance(part, pa.DictionaryArray):
        return part.cast(pa.large_string())
    return pa.array([name_category(number) or None for number in part.tolist()], pa.large_string())
