"""Reads a whole table into compact columns: plain numbers as float64, other cells as text with few copies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ml_code.cells import name_category
from ml_code.errors import SourceError
from ml_code.reading.blocks import BadRow
from ml_code.reading.csv_records import BLOCK_BYTES
from ml_code.reading.rules import Reading
from ml_code.reading.table import open_table, recognize_table

NOT_PLAIN = r"^-?0[0-9]|[0-9.]{17}|[^0-9.-]|^-?\.|\.$"
"""A number with leading zeros, as zip codes have them, with too many digits for float64, or in a form that is lost."""

GROUPED = r"^-?[1-9][0-9]{0,2}\.[0-9]{3}$"
"""1.234 may be 1234; only the other columns tell."""

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
    """Collects the cells of one column, block by block: as numbers until the first other text."""

    def __init__(self, rows: int, *, is_text: bool) -> None:
        """Reserves room for as many numbers; a list of small arrays would leave holes in the memory."""
        self._numbers = np.empty(0 if is_text else rows, dtype=np.float64)
        self._count = 0
        self._texts: list[pa.Array] = []
        self._is_text = is_text

    def add(self, cells: pd.Series) -> None:
        texts = pa.array(cells, pa.large_string(), from_pandas=True)
        if isinstance(texts, pa.ChunkedArray):
            texts = texts.combine_chunks()
        numbers = None if self._is_text else _to_plain_numbers(texts)
        if numbers is not None:
            self._append(numbers)
            return
        if not self._is_text:
            self._texts.append(_write_numbers(self._numbers[: self._count]))
            self._numbers, self._is_text = np.empty(0), True
        self._texts.append(texts.dictionary_encode())

    def to_array(self) -> Any:
        """The cells as float64 or pandas' str."""
        if not self._is_text:
            return self._numbers[: self._count]
        texts = pa.chunked_array([part.cast(pa.large_string()) for part in self._texts])
        self._texts = []
        return texts.to_pandas().array

    def _append(self, numbers: npt.NDArray[np.float64]) -> None:
        end = self._count + len(numbers)
        if end > len(self._numbers):
            self._numbers = np.concatenate([self._numbers[: self._count], np.empty(end)])
        self._numbers[self._count : end] = numbers
        self._count = end


def read_table(path: Path, target: str, key: str | None = None, sheet: str | None = None) -> Table:
    """Reads a file of any kind, as `reading.table` recognizes it.

    Args:
        path: of the file.
        target: a name of the header; its cells stay text, because 1.50 and 1.5 are two labels.
        key: whose cells stay text, too.
        sheet: of a workbook; None: its only one.

    Raises:
        SourceError: there is no such file, or it is not a table.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no file"
        raise SourceError(f"{path}: found {found}, expected a table such as a CSV file; correct the path")
    with path.open("rb") as stream:
        recognized = recognize_table(stream, path.name, sheet, wanted=target)
        records = open_table(stream, path.name, recognized.reading)
        columns: dict[str, _Column] = {}
        lines: list[npt.NDArray[np.int64]] = []
        bad: list[BadRow] = []
        bad_rows = 0
        for block in records:
            if not columns:
                rows = len(block.frame) * (1 + path.stat().st_size // BLOCK_BYTES)
                columns = {name: _Column(rows, is_text=name in {target, key}) for name in records.header}
            for name, column in columns.items():
                column.add(block.frame[name])
            lines.append(np.array(block.lines, dtype=np.int64))
            bad += block.bad[: KEPT_BAD_ROWS - len(bad)]
            bad_rows += len(block.bad)
    # One after the other, so that no column is in memory twice for long.
    arrays = {name: columns.pop(name).to_array() for name in list(columns)}
    frame = pd.DataFrame(arrays, index=pd.Index(np.concatenate(lines)), copy=False)
    return Table(frame, bad, bad_rows, recognized.reading, recognized.notes)


def _to_plain_numbers(cells: pa.Array) -> npt.NDArray[np.float64] | None:
    """The cells as float64, NaN where empty; None if one is not a plain number or has leading zeros."""
    texts = pc.utf8_trim_whitespace(cells)
    texts = pc.if_else(pc.equal(texts, ""), None, texts)
    if pc.any(pc.match_substring_regex(texts, NOT_PLAIN)).as_py():
        return None
    dotted = texts.filter(pc.fill_null(pc.match_substring(texts, "."), fill_value=False))
    if len(dotted) and pc.all(pc.match_substring_regex(dotted, GROUPED)).as_py():
        return None
    try:
        numbers = np.asarray(pc.cast(texts, pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    except pa.ArrowInvalid:
        return None
    return numbers if np.isfinite(numbers).sum() == len(texts) - texts.null_count else None


def _write_numbers(numbers: npt.NDArray[np.float64]) -> pa.Array:
    return pa.array(
        [name_category(number) or None for number in numbers.tolist()], pa.large_string()
    ).dictionary_encode()
