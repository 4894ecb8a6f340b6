"""From the bytes of a request to the rows that a model reads, or to every problem with them, by row and field."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from types import NoneType
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from ml_code.cells import clean_text
from ml_code.model_file.feed import Rows
from ml_code.model_file.spec import ModelSpec, Value
from serving.answering.cells import INTEGER_TEXT_MAX, NUMBERS, make_reader
from serving.answering.findings import Findings, ReadRows
from serving.answering.tensors import list_values
from serving.errors import RequestError
from serving.limits import MAX_ROWS
from serving.quoting import Quotes, list_names, shorten

NOT_A_NUMBER = re.compile(r"-?(NaN|nan|NAN|Infinity|Inf|inf)\b")
"""What some libraries write for a missing value, and JSON does not have."""

NUMBERS_AND_NONE = NUMBERS | {NoneType}


class RowParser:
    """Reads the rows of one model: an array of arrays in the order of its features, or of objects by name, or mixed.

    >>> RowParser(spec).parse(b"[[5.1, 3.5, 1.4, 0.2]]").rows
    [[5.1, 3.5, 1.4, 0.2]]
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._names = [feature.name for feature in spec.features]
        self._known = frozenset(self._names)
        self._listed = list_names(self._names)
        self._width = len(self._names)
        self._get_cells = itemgetter(*self._names)
        self._readers = [make_reader(feature) for feature in spec.features]
        self._plain = [reader.plain for reader in self._readers]
        self._texts = [plain.texts for plain in self._plain]
        self._lows = [plain.low for plain in self._plain]
        self._highs = [plain.high for plain in self._plain]
        self._is_numeric = all(feature.kind == "numeric" for feature in spec.features)
        self._limits = np.array(self._lows, np.float64), np.array(self._highs, np.float64)
        self._short_limits = np.array(self._lows, np.float32), np.array(self._highs, np.float32)
        self._may_be_large = max(map(abs, (*self._lows, *self._highs))) > INTEGER_TEXT_MAX
        self._reads_missing = np.array([None in texts for texts in self._texts])

    def parse(self, body: bytes) -> ReadRows:
        """Parses and checks a body.

        Raises:
            RequestError: the body is not JSON (400), has too many rows, or has rows that do not fit the model (422).
        """
        # JSON without these letters has no truth value; the search takes nothing.
        return self.check(_load_array(body), may_have_truths=b"t" in body or b"f" in body)

    def check(self, rows: Rows, *, may_have_truths: bool = True) -> ReadRows:
        """Checks rows of any source; without truth values, arrays of numbers are read in half the time.

        Raises:
            RequestError: there are none, too many, or rows that do not fit the model (422).
        """
        if not len(rows):
            raise RequestError(422, "body: found an empty array, expected at least one row")
        if len(rows) > MAX_ROWS:
            raise RequestError(422, f"body: found {len(rows)} rows, expected at most {MAX_ROWS}; send them in parts")
        if isinstance(rows, np.ndarray):
            if self._are_plain_numbers(rows):
                return ReadRows(rows)
            rows = list_values(rows)
        elif (plain := self._find_plain(self._list_objects(rows), may_have_truths=may_have_truths)) is not None:
            return ReadRows(plain)
        findings = Findings()
        return findings.finish([self._read_row(number, row, findings) for number, row in enumerate(rows)])

    def _find_plain(self, rows: Sequence[Any], *, may_have_truths: bool) -> Rows | None:
        """The rows as the model reads them, if training knew each cell."""
        if len(rows) > 1 and self._is_numeric:
            matrix = self._make_matrix(rows, may_have_truths=may_have_truths)
            if matrix is not None:
                return matrix if self._are_plain_numbers(matrix) else None
        return rows if self._are_plain(rows) else None

    def _list_objects(self, rows: Sequence[Any]) -> Sequence[Any]:
        """Several objects with all features as arrays; any other rows as they are."""
        if len(rows) == 1 or self._width == 1 or type(rows[0]) is not dict:
            return rows
        try:
            return list(map(list, map(self._get_cells, rows))) if set(map(len, rows)) == {self._width} else rows
        except (TypeError, KeyError):
            return rows

    def _make_matrix(self, rows: Sequence[Any], *, may_have_truths: bool) -> npt.NDArray[np.float64] | None:
        """The rows as an array with NaN for null; None where they are not arrays of numbers of the model's width.

        One conversion serves the check and the model. `struct` converts twice as fast as numpy, and refuses null, texts
        and the like.
        """
        try:
            if set(map(len, rows)) != {self._width}:
                return None
            cells = list(chain.from_iterable(rows))
        except TypeError:  # a row without a length
            return None
        try:
            matrix = np.frombuffer(struct.pack(f"{len(cells)}d", *cells)).reshape(-1, self._width)
        except struct.error:
            matrix = None
        if (matrix is None or may_have_truths) and not set(map(type, cells)) <= NUMBERS_AND_NONE:
            return None
        if matrix is None:
            matrix = np.array(rows, np.float64)
        # Larger whole numbers are compared as they are, where the limits do not exclude them.
        if self._may_be_large and (np.abs(matrix) > INTEGER_TEXT_MAX).any() and int in map(type, cells):
            return None
        return matrix

    def _are_plain_numbers(self, rows: npt.NDArray[np.generic]) -> bool:
        """The same as `_are_plain` of rows that are an array."""
        # A float32 of 0.1 is above 0.1: it is compared with the float32 of a limit.
        is_short = rows.dtype.kind == "f" and rows.dtype.itemsize < 8
        lows, highs = self._short_limits if is_short else self._limits
        cells: npt.NDArray[Any] = rows.astype(lows.dtype, copy=False)
        are_plain = (lows <= cells) & (cells <= highs)
        return bool(are_plain.all() or (are_plain | (self._reads_missing & np.isnan(cells))).all())

    def _are_plain(self, rows: Sequence[Any]) -> bool:
        """Whether the model reads rows as they are, and training knew each cell, as in almost every request."""
        if len(rows) == 1:
            return self._is_plain(rows[0])
        if set(map(type, rows)) != {list} or set(map(len, rows)) != {self._width}:
            return False
        return all(plain.hold_all(column) for plain, column in zip(self._plain, zip(*rows, strict=True), strict=True))

    def _is_plain(self, row: Any) -> bool:
        """The same of one row, for which this loop is faster."""
        if type(row) is not list or len(row) != self._width:
            return False
        for cell, texts, low, high in zip(row, self._texts, self._lows, self._highs, strict=True):
            kind = type(cell)
            if kind is float or kind is int:
                if not low <= cell <= high:
                    return False
            elif (kind is not str and cell is not None) or cell not in texts:
                return False
        return True

    def _read_row(self, number: int, row: Any, findings: Findings) -> list[Value]:
        if findings.is_full:
            return []
        cells = self._order(number, row, findings)
        if self._is_plain(cells):
            return cells
        values: list[Value] = []
        for reader, cell in zip(self._readers, cells, strict=False):
            try:
                value = reader.read(cell, findings.quotes)
            except ValueError as error:
                findings.add(number, reader.name, str(error))
                continue
            values.append(value)
            if kind := reader.judge(value):
                findings.warn(number, reader, kind, value)
        return values

    def _order(self, number: int, row: Any, findings: Findings) -> list[Any]:
        """The cells of a row in the order of the features; none where the row's form is wrong."""
        if isinstance(row, list):
            if len(row) == self._width:
                return row
            findings.add(number, None, f"found {len(row)} values, expected {self._width}: {self._listed}")
            return []
        if not isinstance(row, dict):
            findings.add(number, None, f"found {findings.quotes.describe(row)}, expected an array or an object")
            return []
        if row.keys() == self._known:
            return [row[name] for name in self._names]
        if not self._known.issuperset(row):
            row = {clean_text(name): cell for name, cell in row.items()}  # a name may be in another Unicode form
        unknown = [name for name in row if name not in self._known]
        missing = [name for name in self._names if name not in row]
        for name in unknown:
            if findings.is_full:
                break
            findings.add(number, findings.quotes.quote(name), f"unknown field, expected {self._listed}")
        for name in missing:
            findings.add(number, name, "missing field; send null where the value is not known")
        return [] if unknown or missing else [row[name] for name in self._names]


def load_json(body: bytes, expected: str) -> Any:
    """Loads the JSON of a body; `expected` names what it should be.

    Raises:
        RequestError: it is not JSON (400).
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        start = error.pos - error.doc.startswith("-", max(error.pos - 1, 0), error.pos)
        if found := NOT_A_NUMBER.match(error.doc, start):
            raise RequestError(
                400,
                f"body: found {found[0]} at line {error.lineno} column {error.colno}, which JSON does not have; "
                "send null where a value is missing",
            ) from error
        problem = shorten(str(error))
        raise RequestError(400, f"body: found text that is not JSON ({problem}), expected {expected}") from error


def _load_array(body: bytes) -> list[Any]:
    if not body:
        raise RequestError(400, "body: found nothing, expected a JSON array of rows")
    rows = load_json(body, "a JSON array of rows")
    if type(rows) is not list:
        found = Quotes().describe(rows)
        raise RequestError(422, f"body: found {found}, expected an array of rows such as [[1.0, 2.0]]")
    return rows
