"""Reads the cells of one feature from JSON, and judges whether training knew them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from types import NoneType
from typing import Any, Literal, get_args

from ml_code.cells import name_category
from ml_code.model_file.spec import Feature, Value
from serving.quoting import Quotes

FLOAT32_MAX = 3.4028234663852886e38
"""Numbers beyond it would become infinite in the float32 that a model reads."""

INTEGER_TEXT_MAX = 2**53 - 1
"""A whole number beyond it is not exact in the JSON of most clients, so it cannot name a category."""

SHOWN_CATEGORIES = 20
"""Categories that the API's description names."""

REQUIRED = "found no value, which this model does not read"

type Kind = Literal["unknown_category", "out_of_range", "missing"]

KINDS: tuple[Kind, ...] = get_args(Kind.__value__)
"""The ways in which a cell can differ from all that training had."""

NUMBERS = frozenset({int, float})
TEXTS = frozenset({str, NoneType})


class AnyText(frozenset[str | None]):
    """The known texts of an older model file, which does not list its categories."""

    def __contains__(self, _: object) -> bool:
        return True

    def issuperset(self, _: Iterable[object]) -> bool:
        """Whether all texts are known."""
        return True


@dataclass(frozen=True, slots=True)
class Plain:
    """The cells that need neither a check nor a warning: texts (and None), and numbers from `low` to `high`."""

    texts: frozenset[str | None] = frozenset()
    low: float = inf
    high: float = -inf

    def hold_all(self, column: Sequence[Any]) -> bool:
        """Whether all cells of a column are plain, at the speed of C."""
        types = set(map(type, column))
        if types <= TEXTS:
            return self.texts.issuperset(column)
        if NoneType in types and None in self.texts:
            column = [cell for cell in column if cell is not None]
            types.remove(NoneType)
        return types <= NUMBERS and self.low <= min(column) and max(column) <= self.high


class NumberReader:
    """Reads the cells of a numeric feature."""

    def __init__(self, feature: Feature) -> None:
        self.name = feature.name
        self._is_flag = feature.is_flag
        self._is_required = feature.is_required
        self._whole = feature.whole
        self._has_no_missing = feature.has_missing is False or feature.is_required
        self._minimum = -inf if feature.minimum is None else feature.minimum
        self._maximum = inf if feature.maximum is None else feature.maximum
        low, high = max(self._minimum, -FLOAT32_MAX), min(self._maximum, FLOAT32_MAX)
        missing = frozenset[str | None]() if self._has_no_missing else frozenset[str | None]({None})
        # Each number is read alone where a fraction is refused.
        self.plain = Plain(missing, low, high) if feature.whole is None else Plain(missing)

    def read(self, cell: Any, quotes: Quotes) -> Value:
        """The number; None if it is missing.

        Raises:
            ValueError: the cell is not a number, or float32 does not hold it.
        """
        if cell is None:
            if self._is_required:
                raise ValueError(f"{REQUIRED}; send a number")
            return None
        if isinstance(cell, bool):
            if self._is_flag:
                return int(cell)
            expected = "a number or null; only a feature of 0 and 1 reads true and false"
            raise ValueError(f"found {quotes.describe(cell)}, expected {expected}")
        if not isinstance(cell, int | float):
            raise ValueError(f"found {quotes.describe(cell)}, expected a number or null")
        if not -FLOAT32_MAX <= cell <= FLOAT32_MAX:
            raise ValueError(f"found {cell!r}, expected a number that float32 holds")
        if self._whole is not None and not (self._whole[0] <= cell <= self._whole[1] and cell == int(cell)):
            low, high = map(_write, self._whole)
            raise ValueError(f"found {cell!r}, expected a whole number from {low} to {high}: this model reads no other")
        return cell

    def judge(self, value: Any) -> Kind | None:
        """The way in which training did not know a value; None if it did."""
        if value is None:
            return "missing" if self._has_no_missing else None
        return None if self._minimum <= value <= self._maximum else "out_of_range"

    def explain(self, kind: Kind, value: Value, quotes: Quotes) -> str:
        """The warning about a value."""
        if kind == "missing":
            return "found no value, and no row of the training lacked one"
        return f"found {quotes.describe(value)}, expected {self._describe_range()}"

    def describe(self) -> dict[str, Any]:
        """The JSON schema of a cell."""
        types = ["number" if self._whole is None else "integer", *(["boolean"] if self._is_flag else []), "null"]
        low, high = self._whole or (-FLOAT32_MAX, FLOAT32_MAX)
        schema: dict[str, Any] = {"type": types, "minimum": low, "maximum": high}
        notes = ["true is 1 and false is 0"] if self._is_flag else []
        if self._minimum > -inf or self._maximum < inf:
            notes.append(f"expected {self._describe_range()}")
        return schema | ({"description": "; ".join(notes)} if notes else {})

    def _describe_range(self) -> str:
        low, high = _write(self._minimum), _write(self._maximum)
        if self._maximum == inf:
            return f"at least {low}"
        return f"at most {high}" if self._minimum == -inf else f"{low} to {high}"


class CategoryReader:
    """Reads the cells of a categorical feature."""

    def __init__(self, feature: Feature) -> None:
        self.name = feature.name
        self._feature = feature
        self._is_known = feature.categories is not None
        self._known = frozenset(feature.categories or ())
        self._has_no_missing = feature.has_missing is False or feature.is_required
        missing = () if self._has_no_missing else (None, "")
        self.plain = Plain(self._known.union(missing) if self._is_known or self._has_no_missing else AnyText())

    def read(self, cell: Any, quotes: Quotes) -> Value:
        """The text, whole number or truth value; None if it is missing.

        Raises:
            ValueError: the cell cannot name a category.
        """
        if self._feature.is_required and not name_category(cell):
            raise ValueError(f"{REQUIRED}; send a text")
        if cell is None or isinstance(cell, str):
            return cell
        if isinstance(cell, bool):
            if self._feature.reads_truths:
                return cell
            found = quotes.describe(cell)
            raise ValueError(f"found {found}, expected a text, a whole number or null; training had no true or false")
        if not isinstance(cell, int | float) or (isinstance(cell, float) and not cell.is_integer()):
            raise ValueError(f"found {quotes.describe(cell)}, expected a text, a whole number or null")
        # 2**53 + 1 is 2**53 when JSON writes it with a decimal point.
        if abs(cell) > INTEGER_TEXT_MAX:
            raise ValueError(f"found {quotes.describe(cell)}; send it as text, it is not below 2**53")
        return int(cell)  # JSON does not distinguish 3.0 from 3

    def judge(self, value: Any) -> Kind | None:
        """The way in which training did not know a value; None if it did."""
        if not self._is_known and not self._has_no_missing:
            return None
        name = self._feature.truths.get(name := name_category(value), name)
        if not name:
            return "missing" if self._has_no_missing else None
        return "unknown_category" if self._is_known and name not in self._known else None

    @staticmethod
    def explain(kind: Kind, value: Value, quotes: Quotes) -> str:
        """The warning about a value."""
        if kind == "missing":
            return "found no value, and no row of the training lacked one"
        return f"found {quotes.describe(value)}, which no row of the training had"

    def describe(self) -> dict[str, Any]:
        """The JSON schema of a cell."""
        types = ["string", "integer", *(["boolean"] if self._feature.reads_truths else []), "null"]
        schema: dict[str, Any] = {"type": types, "minimum": -INTEGER_TEXT_MAX, "maximum": INTEGER_TEXT_MAX}
        if self._is_known:
            schema["description"] = f"one of {len(self._known)} categories of the training"
            schema["examples"] = sorted(self._known)[:SHOWN_CATEGORIES]
        return schema


type Reader = NumberReader | CategoryReader


def make_reader(feature: Feature) -> Reader:
    """The reader of a feature."""
    return NumberReader(feature) if feature.kind == "numeric" else CategoryReader(feature)


def _write(number: float) -> str:
    """All digits of a number, without `.0`."""
    return str(int(number)) if abs(number) <= INTEGER_TEXT_MAX and number == int(number) else repr(number)
