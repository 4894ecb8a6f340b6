"""From the bytes of a request to the rows that a model reads, or to every problem with them, by row and field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from ml_code.model_file.spec import Feature, ModelSpec, Value
from serving.errors import Problem, RequestError

MAX_ROWS = 10_000
MAX_BODY_BYTES = 1_000_000
MAX_PROBLEMS = 20
"""Most problems that one response names: the rest is the same mistake again."""

FLOAT32_MAX = 3.4028234663852886e38
"""Numbers beyond it would become infinite in the float32 that a model reads."""

INTEGER_TEXT_MAX = 2**53
"""A whole number beyond it is not exact in JSON, so it cannot name a category."""


class RowParser:
    """Reads the rows of one model: an array of arrays in the order of its features, or of objects by name, or mixed.

    >>> RowParser(spec).parse(b"[[5.1, 3.5, 1.4, 0.2]]")
    [[5.1, 3.5, 1.4, 0.2]]
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._features = spec.features
        self._names = [feature.name for feature in spec.features]
        self._known = frozenset(self._names)
        self._width = len(self._names)
        self._all_numeric = all(feature.kind == "numeric" for feature in spec.features)

    def parse(self, body: bytes) -> Sequence[Sequence[Value]]:
        """Parses and checks a body.

        Raises:
            RequestError: the body is not JSON (400), has too many rows, or has rows that do not fit the model (422).
        """
        return self.check(_load_array(body))

    def check(self, rows: list[Any]) -> Sequence[Sequence[Value]]:
        """Checks rows of any source.

        Raises:
            RequestError: there are none, too many, or rows that do not fit the model (422).
        """
        if not rows:
            raise RequestError(422, "body: found an empty array, expected at least one row")
        if len(rows) > MAX_ROWS:
            raise RequestError(422, f"body: found {len(rows)} rows, expected at most {MAX_ROWS}; send them in parts")
        if self._all_numeric and all(self._is_plain(row) for row in rows):
            return rows
        problems: list[Problem] = []
        checked = [self._check_row(number, row, problems) for number, row in enumerate(rows)]
        if problems:
            raise _refuse(problems, len(rows))
        return checked

    def _is_plain(self, row: Any) -> bool:
        """Whether a row is already what a model of numbers reads, as almost every row is."""
        if type(row) is not list or len(row) != self._width:
            return False
        for cell in row:
            kind = type(cell)
            if (kind is not float and kind is not int) or not -FLOAT32_MAX <= cell <= FLOAT32_MAX:
                return False
        return True

    def _check_row(self, number: int, row: Any, problems: list[Problem]) -> list[Value]:
        if len(problems) > MAX_PROBLEMS:
            return []
        cells = self._order(number, row, problems)
        checked: list[Value] = []
        for feature, cell in zip(self._features, cells, strict=False):
            try:
                checked.append(_check_number(cell) if feature.kind == "numeric" else _check_category(cell))
            except ValueError as error:
                problems.append(Problem(number, feature.name, str(error)))
        return checked

    def _order(self, number: int, row: Any, problems: list[Problem]) -> list[Any]:
        """The cells of a row in the order of the features; none where the row's form is wrong."""
        if isinstance(row, list):
            if len(row) == self._width:
                return row
            expected = f"expected {self._width}: {', '.join(self._names)}"
            problems.append(Problem(number, None, f"found {len(row)} values, {expected}"))
            return []
        if not isinstance(row, dict):
            problems.append(Problem(number, None, f"found {_describe(row)}, expected an array or an object"))
            return []
        unknown = [name for name in row if name not in self._known]
        missing = [name for name in self._names if name not in row]
        problems += [
            Problem(number, name[:100], f"unknown field, expected {', '.join(self._names)}") for name in unknown
        ]
        problems += [Problem(number, name, "missing field; send null where the value is not known") for name in missing]
        return [] if unknown or missing else [row[name] for name in self._names]


def describe_cell(feature: Feature) -> dict[str, Any]:
    """The JSON schema of one cell, as `RowParser` takes it."""
    if feature.kind == "numeric":
        return {"type": ["number", "null"], "minimum": -FLOAT32_MAX, "maximum": FLOAT32_MAX}
    return {
        "type": ["string", "integer", "null"],
        "minimum": -INTEGER_TEXT_MAX,
        "maximum": INTEGER_TEXT_MAX,
    }


def _load_array(body: bytes) -> list[Any]:
    if not body:
        raise RequestError(400, "body: found nothing, expected a JSON array of rows")
    try:
        rows = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(400, f"body: found what is not JSON ({error}), expected a JSON array of rows") from error
    if type(rows) is not list:
        raise RequestError(422, f"body: found {_describe(rows)}, expected an array of rows such as [[1.0, 2.0]]")
    return rows


def _check_number(cell: Any) -> Value:
    if cell is None:
        return None
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        raise ValueError(f"found {_describe(cell)}, expected a number or null")
    if not -FLOAT32_MAX <= cell <= FLOAT32_MAX:
        raise ValueError(f"found {cell:g}, expected a number that float32 holds")
    return cell


def _check_category(cell: Any) -> Value:
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)  # JSON does not distinguish 3.0 from 3
    if isinstance(cell, bool) or not isinstance(cell, int) or abs(cell) > INTEGER_TEXT_MAX:
        raise ValueError(f"found {_describe(cell)}, expected a text, a whole number or null")
    return cell


def _refuse(problems: list[Problem], rows: int) -> RequestError:
    shown = tuple(problems[:MAX_PROBLEMS])
    count = f"{len(problems)}" if len(problems) <= MAX_PROBLEMS else f"more than {MAX_PROBLEMS}"
    return RequestError(422, f"{count} problem(s) in {rows} row(s) of the body; no row was answered", shown)


def _describe(value: Any) -> str:
    """A JSON value in words, short enough for an error."""
    if value is None or isinstance(value, bool):
        return orjson.dumps(value).decode()
    if isinstance(value, int | float):
        return f"the number {value:g}"
    if isinstance(value, str):
        return f"the text {value[:50]!r}"
    return "an array" if isinstance(value, list) else "an object"
