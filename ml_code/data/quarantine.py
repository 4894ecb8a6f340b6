"""The report of the bad rows of a file: line, column, reason and raw text of each."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from ml_code.reading.blocks import BadRow

COLUMNS = ("file", "line", "column", "reason", "raw")

REPORT_ROWS = 250_000
REPORT_BYTES = 32 * 1024 * 1024
"""Limits of a report, and so of memory: a load that needs a larger report fails. A report leaves out no row."""


class Quarantine:
    """The bad rows of one file, as CSV; `rows` counts all, including those that a full report lacks.

    >>> quarantine = Quarantine("s3://datasets/incoming/employees.csv")
    >>> quarantine.add([BadRow(7, "salary", "found 'x', expected a number", "7,Kim,Sales,x,2020-01-01")])
    >>> quarantine.rows
    1
    """

    def __init__(self, file: str) -> None:
        self.rows = 0
        self.is_full = False
        self._file = file
        self._report = io.BytesIO()
        self._write(COLUMNS)

    def add(self, rows: Iterable[BadRow]) -> None:
        """Counts the rows, and writes them until the report is full."""
        for row in rows:
            self.rows += 1
            is_large = self.rows > REPORT_ROWS or self._report.tell() + len(row.raw) > REPORT_BYTES
            self.is_full = self.is_full or is_large
            if not self.is_full:
                self._write((self._file, str(row.line), row.column, row.reason, row.raw))

    def to_csv(self) -> bytes:
        """The report as UTF-8 with a header; raw texts are unchanged, so they are not safe for a spreadsheet."""
        return self._report.getvalue()

    def _write(self, cells: Iterable[str]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(cells)
        self._report.write(line.getvalue().encode())
