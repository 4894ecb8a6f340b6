"""The tensors of the Open Inference Protocol as JSON: their datatypes, and the check of their values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from types import NoneType
from typing import Any

from ml_code.cells import clean_text
from ml_code.model_file.spec import Value
from serving.errors import RequestError
from serving.quoting import Quotes, shorten

FLOAT16_MAX = 65_504.0


@dataclass(frozen=True, slots=True)
class Datatype:
    """The JSON values that a datatype holds, in words and as types, and their range if it has one."""

    words: str
    types: frozenset[type]
    limits: tuple[float, float] | None = None

    def holds(self, value: Any) -> bool:
        """Whether a value is one of this datatype, or missing."""
        if value is None:
            return True
        if type(value) not in self.types:
            return False
        return self.limits is None or self.limits[0] <= value <= self.limits[1]

    def hold_all(self, values: Sequence[Any]) -> bool:
        """The same of many values, at the speed of C."""
        found = set(map(type, values))
        if not found <= self.types | {NoneType}:
            return False
        if self.limits is None:
            return True
        present = values if NoneType not in found else [value for value in values if value is not None]
        return not present or (self.limits[0] <= min(present) and max(present) <= self.limits[1])


def _make_whole(low: int, high: int) -> Datatype:
    return Datatype(f"{low} to {high}", frozenset({int}), (low, high))


DATATYPES = {
    "BOOL": Datatype("true or false", frozenset({bool})),
    **{f"UINT{bits}": _make_whole(0, 2**bits - 1) for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": _make_whole(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    "FP16": Datatype("-65504 to 65504", frozenset({int, float}), (-FLOAT16_MAX, FLOAT16_MAX)),
    **dict.fromkeys(("FP32", "FP64"), Datatype("numbers", frozenset({int, float}))),
    "BYTES": Datatype("texts", frozenset({str})),
}
"""The protocol's datatypes. The rows' own check refuses a number that FP32 does not hold, by its row and field."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input: its cells in row-major order."""

    name: str
    shape: list[int]
    cells: list[Value]


def read_tensor(entry: Any) -> Tensor:
    """Reads one entry of `inputs`.

    Raises:
        RequestError: it is not a tensor of the protocol, or its datatype does not hold its data (400).
    """
    if not isinstance(entry, dict) or not isinstance(name := entry.get("name"), str):
        raise RequestError(400, "inputs: found an entry without a name, expected name, shape, datatype and data")
    shape, datatype, data = entry.get("shape"), entry.get("datatype"), entry.get("data")
    shown = shorten(name, 100)
    if not isinstance(shape, list) or len(shape) not in {1, 2} or any(type(n) is not int or n < 0 for n in shape):
        raise RequestError(400, f"input {shown}: found no shape of one or two whole numbers, expected [rows, features]")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise RequestError(400, f"input {shown}: found another datatype, expected one of {', '.join(DATATYPES)}")
    if not isinstance(data, list):
        raise RequestError(400, f"input {shown}: found no list as data, expected one; binary tensors are not read")
    if data and all(type(row) is list for row in data):
        data = list(chain.from_iterable(data))
    if len(data) != math.prod(shape):
        raise RequestError(400, f"input {shown}: found {len(data)} values, expected {math.prod(shape)} by its shape")
    _check_data(shown, datatype, data)
    return Tensor(clean_text(name), shape, data)


def _check_data(name: str, datatype: str, data: list[Any]) -> None:
    kind = DATATYPES[datatype]
    if kind.hold_all(data):
        return
    place, value = next((place, value) for place, value in enumerate(data) if not kind.holds(value))
    is_number = type(value) in {int, float}
    found = repr(value) if is_number else Quotes().describe(value)
    raise RequestError(400, f"input {name}, value {place}: found {found}, expected {datatype}: {kind.words}")
