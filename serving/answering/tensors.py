"""The tensors of the Open Inference Protocol: their datatypes, and the check of their values, from JSON or binary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from types import NoneType
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_code.cells import clean_text
from ml_code.model_file.spec import Value
from serving.answering.cells import FLOAT32_MAX
from serving.errors import RequestError
from serving.quoting import Quotes, shorten

FLOAT16_MAX = 65_504.0

LENGTH_BYTES = 4
"""Bytes of a number before each text of a binary tensor: the text's length."""

type Cells = list[Value] | npt.NDArray[np.generic]
"""The cells of a tensor; in an array NaN is a missing value."""


@dataclass(frozen=True, slots=True)
class Datatype:
    """The JSON values that a datatype holds, in words and as types, and their range if it has one.

    `dtype` is the form of a binary value; None for texts, which differ in length.
    """

    words: str
    types: frozenset[type]
    limits: tuple[float, float] | None = None
    dtype: str | None = None

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


def _make_whole(low: int, high: int, dtype: str) -> Datatype:
    return Datatype(f"{low} to {high}", frozenset({int}), (low, high), dtype)


NUMBERS = frozenset({int, float})

DATATYPES = {
    "BOOL": Datatype("true or false", frozenset({bool}), dtype="u1"),
    **{f"UINT{bits}": _make_whole(0, 2**bits - 1, f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{
        f"INT{bits}": _make_whole(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, f"<i{bits // 8}") for bits in (8, 16, 32, 64)
    },
    "FP16": Datatype("-65504 to 65504", NUMBERS, (-FLOAT16_MAX, FLOAT16_MAX), "<f2"),
    "FP32": Datatype("numbers", NUMBERS, dtype="<f4"),
    "FP64": Datatype("numbers", NUMBERS, dtype="<f8"),
    "BYTES": Datatype("texts", frozenset({str})),
}
"""The protocol's datatypes. The rows' own check refuses a number that FP32 does not hold, by its row and field."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input: its cells in row-major order."""

    name: str
    shape: list[int]
    cells: Cells

    def list_cells(self) -> list[Value]:
        """The cells as the JSON of a request would have them."""
        return self.cells if isinstance(self.cells, list) else list_values(self.cells)


@dataclass(slots=True)
class Binary:
    """The bytes behind the JSON of a request, which its tensors take in their order."""

    content: memoryview
    taken: int = 0

    def take(self, name: str, size: Any) -> memoryview:
        """The next bytes.

        Raises:
            RequestError: the size is not a whole number, or there are fewer bytes (400).
        """
        left = len(self.content) - self.taken
        if type(size) is not int or not 0 <= size <= left:
            found = size if type(size) is int else "another type"
            raise RequestError(
                400, f"input {name}, binary_data_size: found {found}, expected 0 to {left}, the bytes left"
            )
        self.taken += size
        return self.content[self.taken - size : self.taken]

    def check_end(self) -> None:
        """Checks that no bytes are left.

        Raises:
            RequestError: there are some (400).
        """
        if left := len(self.content) - self.taken:
            raise RequestError(400, f"body: found {left} bytes behind the tensors, expected none by their sizes")


def read_tensor(entry: Any, binary: Binary | None = None) -> Tensor:
    """Reads one entry of `inputs`, with its data from `binary` where its parameters say so.

    Raises:
        RequestError: it is not a tensor of the protocol, or its datatype does not hold its data (400).
    """
    if not isinstance(entry, dict) or not isinstance(name := entry.get("name"), str):
        raise RequestError(400, "inputs: found an entry without a name, expected name, shape, datatype and data")
    data: Any = entry.get("data")
    shown = shorten(name, 100)
    shape, datatype = check_form(shown, entry.get("shape"), entry.get("datatype"))
    parameters = entry.get("parameters")
    if isinstance(parameters, dict) and "binary_data_size" in parameters:
        if binary is None or data is not None:
            found = "data beside it" if binary is not None else "no header Inference-Header-Content-Length"
            raise RequestError(400, f"input {shown}, binary_data_size: found {found}, expected binary data alone")
        content = binary.take(shown, parameters["binary_data_size"])
        return Tensor(clean_text(name), shape, read_binary(shown, datatype, math.prod(shape), content))
    if not isinstance(data, list):
        raise RequestError(400, f"input {shown}: found no list as data, expected one, or a binary_data_size")
    if data and all(type(row) is list for row in data):
        data = _flatten(shown, shape, data)
    return make_tensor(name, shape, datatype, data)


def make_tensor(name: str, shape: list[int], datatype: str, data: list[Any]) -> Tensor:
    """A tensor of JSON's values.

    Raises:
        RequestError: it has more or fewer values than its shape says, or its datatype does not hold one (400).
    """
    shown = shorten(name, 100)
    if len(data) != math.prod(shape):
        raise RequestError(400, f"input {shown}: found {len(data)} values, expected {math.prod(shape)} by its shape")
    _check_data(shown, datatype, data)
    return Tensor(clean_text(name), shape, data)


def check_form(name: str, shape: Any, datatype: Any) -> tuple[list[int], str]:
    """The shape and the datatype of a tensor.

    Raises:
        RequestError: they are none of the protocol (400).
    """
    if not isinstance(shape, list) or len(shape) not in {1, 2} or any(type(n) is not int or n < 0 for n in shape):
        raise RequestError(400, f"input {name}: found no shape of one or two whole numbers, expected [rows, features]")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise RequestError(400, f"input {name}: found another datatype, expected one of {', '.join(DATATYPES)}")
    return shape, datatype


def read_binary(name: str, datatype: str, count: int, content: memoryview) -> Cells:
    """The cells of a tensor whose bytes are little-endian, without gaps.

    Raises:
        RequestError: the bytes are not so many cells of this datatype (400).
    """
    dtype = DATATYPES[datatype].dtype
    if dtype is None:
        return _read_texts(name, count, content)
    size = np.dtype(dtype).itemsize
    if len(content) != count * size:
        raise RequestError(
            400, f"input {name}: found {len(content)} bytes, expected {count * size}: {count} cells of {datatype}"
        )
    # A view would keep the whole body as long as the prediction log or a shadow has the rows.
    cells = np.frombuffer(content, dtype).copy()
    if datatype != "BOOL":
        return cells
    if cells.size and cells.max() > 1:
        raise RequestError(400, f"input {name}: found the byte {cells.max()}, expected BOOL: 0 or 1")
    return cells.astype(bool).tolist()


def pack(datatype: str, cells: Sequence[Any] | npt.NDArray[np.generic]) -> bytes:
    """The bytes of a tensor, as `read_binary` reads them."""
    dtype = DATATYPES[datatype].dtype
    if dtype is not None:
        return np.asarray(cells, dtype).tobytes()
    texts = [text.encode() for text in cells]
    return b"".join(chain.from_iterable((len(text).to_bytes(LENGTH_BYTES, "little"), text) for text in texts))


def list_values(cells: npt.NDArray[np.generic]) -> list[Any]:
    """An array of numbers of one or two axes as lists, with None where it has NaN.

    A float32 becomes the shortest number that it is: 0.1, not 0.10000000149011612.
    """
    if cells.dtype.kind != "f":
        return cells.tolist()  # type: ignore[no-any-return]
    values: npt.NDArray[Any] = cells
    if cells.dtype.itemsize < 8:
        # The shortest number of the largest float32 is above it.
        shortest = cells.astype(str).astype(np.float64)
        values = np.where(np.isinf(shortest), shortest, np.clip(shortest, -FLOAT32_MAX, FLOAT32_MAX))
    listed: list[Any] = values.tolist()
    if not np.isnan(cells).any():
        return listed
    if cells.ndim == 1:
        return [None if cell != cell else cell for cell in listed]  # noqa: PLR0124  NaN alone is not itself
    return [[None if cell != cell else cell for cell in row] for row in listed]  # noqa: PLR0124


def _flatten(name: str, shape: list[int], rows: list[list[Any]]) -> list[Any]:
    """The cells of rows that are as many and as long as the shape says."""
    width = math.prod(shape[1:])
    if len(rows) != shape[0] or set(map(len, rows)) != {width}:
        found = f"found {len(rows)} lists, or one without {width} values"
        raise RequestError(400, f"input {name}: {found}, expected the shape {shape}, or one list of all values")
    return list(chain.from_iterable(rows))


def _read_texts(name: str, count: int, content: memoryview) -> list[Value]:
    texts: list[Value] = []
    place = 0
    while place < len(content):
        start = place + LENGTH_BYTES
        place = start + int.from_bytes(content[place:start], "little")
        if place > len(content):
            raise RequestError(400, f"input {name}: found bytes that end in text {len(texts)}, expected whole texts")
        try:
            texts.append(str(content[start:place], "utf-8"))
        except UnicodeDecodeError as error:
            problem = f"input {name}, value {len(texts)}: found bytes that are not UTF-8, expected BYTES: texts"
            raise RequestError(400, problem) from error
    if len(texts) != count:
        raise RequestError(400, f"input {name}: found {len(texts)} values, expected {count} by its shape")
    return texts


def _check_data(name: str, datatype: str, data: list[Any]) -> None:
    kind = DATATYPES[datatype]
    if kind.hold_all(data):
        return
    place, value = next((place, value) for place, value in enumerate(data) if not kind.holds(value))
    is_number = type(value) in NUMBERS
    found = repr(value) if is_number else Quotes().describe(value)
    raise RequestError(400, f"input {name}, value {place}: found {found}, expected {datatype}: {kind.words}")
