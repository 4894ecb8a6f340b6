"""Which input of a foreign graph reads which columns, and the arrays that it wants for rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import pandas as pd
from onnx import TensorProto, helper

from ml_code.data.features import name_categories
from ml_code.datasets import Dataset
from ml_code.errors import ModelFileError
from ml_code.gate.imports.graph import list_inputs, list_sizes, name_type
from ml_code.model_file.feed import Feed

FLOATS = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16})
"""Types that hold a missing number as NaN."""

WHOLE = frozenset({
    TensorProto.INT64, TensorProto.INT32, TensorProto.INT16, TensorProto.INT8,
    TensorProto.UINT64, TensorProto.UINT32, TensorProto.UINT16, TensorProto.UINT8,
})  # fmt: skip

NUMBERS = FLOATS | WHOLE | {TensorProto.BOOL}

TRUTHS = ("False", "True")


@dataclass(frozen=True, slots=True)
class Slot:
    """One input of the graph: its columns, and whether it is flat, of shape (rows,)."""

    name: str
    element: int
    columns: tuple[str, ...]
    is_flat: bool = False

    @property
    def holds_missing(self) -> bool:
        """Whether its type has a value for a missing cell."""
        return self.element in FLOATS or self.element == TensorProto.STRING

    @property
    def whole(self) -> tuple[float, float] | None:
        """The smallest and the largest number of a type of whole numbers, as float32 holds them; None of another."""
        if self.element == TensorProto.BOOL:
            return 0.0, 1.0
        if self.element not in WHOLE:
            return None
        limits = np.iinfo(helper.tensor_dtype_to_np_dtype(self.element))
        # The largest int64 is 2**63 as a float, which is one too many.
        highest = np.float32(limits.max)
        fits = int(highest) <= limits.max
        return float(limits.min), float(highest if fits else np.nextafter(highest, np.float32(0)))


def match_inputs(dataset: Dataset, proto: onnx.ModelProto, name: str) -> list[Slot]:
    """Finds the columns of each input: one input for each feature by its name, or one matrix for each kind of features.

    Raises:
        ModelFileError: the inputs are neither.
    """
    inputs = list_inputs(proto.graph)
    are_tensors = all(value.type.WhichOneof("value") == "tensor_type" for value in inputs)
    slots = (_match_names(dataset, inputs) or _match_matrices(dataset, inputs)) if are_tensors else None
    if slots is None:
        raise ModelFileError(
            f"{name}: found the inputs {describe_inputs(inputs)}, expected {_describe_expected(dataset)}; "
            "export it with these inputs"
        )
    for slot in slots:
        _refuse_width(dataset, slot, next(value for value in inputs if value.name == slot.name), name)
        _refuse_type(dataset, slot, name)
    return slots


def feed_slots(slots: Sequence[Slot], frame: pd.DataFrame) -> Feed:
    """Feeds rows to the graph as it came, in the precision that it asks for.

    Raises:
        ModelFileError: an input cannot hold the cells of its columns.
    """
    return {slot.name: _feed(slot, frame) for slot in slots}


def describe_inputs(inputs: Sequence[onnx.ValueInfoProto]) -> str:
    """Names, types and sizes of the inputs, at most ten."""
    shown = [
        f"{value.name[:60]} {list_sizes(value)} of {name_type(value.type.tensor_type.elem_type)}"
        if value.type.WhichOneof("value") == "tensor_type"
        else f"{value.name[:60]}, which is not a tensor"
        for value in inputs[:10]
    ]
    return ", ".join(shown) + (f" and {len(inputs) - 10} more" if len(inputs) > 10 else "") if inputs else "none"


def _match_names(dataset: Dataset, inputs: Sequence[onnx.ValueInfoProto]) -> list[Slot] | None:
    """One slot for each input; a converter may have replaced all but letters and digits in a name."""
    if len(inputs) != len(dataset.features):
        return None
    spelt = Counter(_spell(feature) for feature in dataset.features)
    by_spelling = {_spell(feature): feature for feature in dataset.features if spelt[_spell(feature)] == 1}
    names = [value.name for value in inputs]
    found = [name if name in dataset.features else _find_spelt(name, by_spelling) for name in names]
    if sorted(filter(None, found)) != sorted(dataset.features):
        return None
    return [_make_slot(value, (column,)) for value, column in zip(inputs, found, strict=True) if column is not None]


def _find_spelt(name: str, by_spelling: dict[str, str]) -> str | None:
    return by_spelling.get(_spell(name)) if name.isascii() else None


def _spell(name: str) -> str:
    """A name as converters write it into a graph: 'distance (km)' is distance__km_."""
    return re.sub(r"[^0-9A-Za-z]", "_", name.removesuffix(":0")).lower()


def _match_matrices(dataset: Dataset, inputs: Sequence[onnx.ValueInfoProto]) -> list[Slot] | None:
    kinds = [tuple(columns) for columns in (dataset.numeric, dataset.categorical) if columns]
    if len(inputs) != len(kinds):
        return None
    ordered = sorted(inputs, key=lambda value: value.type.tensor_type.elem_type == TensorProto.STRING)
    slots = [_make_slot(value, columns) for value, columns in zip(ordered, kinds, strict=True)]
    are_texts = [value.type.tensor_type.elem_type == TensorProto.STRING for value in ordered]
    return slots if are_texts == [columns[0] in dataset.categorical for columns in kinds] else None


def _make_slot(value: onnx.ValueInfoProto, columns: tuple[str, ...]) -> Slot:
    sizes = list_sizes(value)
    is_flat = sizes is not None and len(sizes) == 1 and len(columns) == 1
    return Slot(value.name, value.type.tensor_type.elem_type, columns, is_flat)


def _refuse_width(dataset: Dataset, slot: Slot, value: onnx.ValueInfoProto, name: str) -> None:
    sizes = list_sizes(value)
    if sizes is None or slot.is_flat or (len(sizes) == 2 and sizes[1] in {None, len(slot.columns)}):
        return
    raise ModelFileError(
        f"{name}: found the input {value.name[:60]} {sizes}, expected (rows, {len(slot.columns)}) in the order "
        f"{_list_some(slot.columns)}; export it for these columns"
    )


def _refuse_type(dataset: Dataset, slot: Slot, name: str) -> None:
    is_text = slot.columns[0] in dataset.categorical
    if slot.element == TensorProto.STRING and is_text:
        return
    if slot.element in NUMBERS and (not is_text or slot.element == TensorProto.BOOL):
        return
    raise ModelFileError(
        f"{name}: found the input {slot.name[:60]} of type {name_type(slot.element)}, expected "
        f"{'texts, because' if is_text else 'numbers, because'} {slot.columns[0]} is "
        f"{'categorical' if is_text else 'numeric'} in the catalog; export it so, or correct the dataset's file"
    )


def _feed(slot: Slot, frame: pd.DataFrame) -> npt.NDArray[np.generic]:
    if slot.element == TensorProto.STRING:
        texts = np.empty((len(frame), len(slot.columns)), dtype=object)
        for place, column in enumerate(slot.columns):
            texts[:, place] = name_categories(frame[column]).to_numpy()
        return texts.reshape(-1) if slot.is_flat else texts
    columns = [_read_numbers(slot, frame[column]) for column in slot.columns]
    matrix = np.stack(columns, axis=1).astype(helper.tensor_dtype_to_np_dtype(slot.element))
    return matrix.reshape(-1) if slot.is_flat else matrix


def _read_numbers(slot: Slot, cells: pd.Series) -> npt.NDArray[np.float64]:
    """The cells as float64, if the type of the slot can hold them."""
    if slot.element == TensorProto.BOOL and not pd.api.types.is_numeric_dtype(cells):
        texts = name_categories(cells)
        wrong = texts[~texts.isin([*TRUTHS, "0", "1"])]
        numbers: npt.NDArray[np.float64] = np.array(texts.isin(["True", "1"]), dtype=np.float64)
    else:
        numbers = np.asarray(cells.to_numpy(dtype=np.float64, na_value=np.nan))
        wrong = cells.iloc[np.flatnonzero(_find_unfit(slot, numbers))]
    if len(wrong):
        kind = "0, 1, true or false" if slot.element == TensorProto.BOOL else "whole numbers of its range"
        found = "a missing cell" if pd.isna(wrong.iloc[0]) or wrong.iloc[0] == "" else repr(wrong.tolist()[0])[:60]
        raise ModelFileError(
            f"found {found} in the column {cells.name}, which it reads as {name_type(slot.element)}: only {kind}; "
            f"{'fill gaps in the graph, and export it' if 'missing' in found else 'export it'} with a float input"
        )
    return numbers


def _find_unfit(slot: Slot, numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    if slot.element in FLOATS:
        return np.zeros(len(numbers), dtype=bool)
    if slot.element == TensorProto.BOOL:
        return np.asarray(~np.isin(numbers, (0, 1)))
    limits = np.iinfo(helper.tensor_dtype_to_np_dtype(slot.element))
    with np.errstate(invalid="ignore"):
        is_whole = numbers == np.floor(numbers)
        return np.asarray(~(is_whole & (numbers >= limits.min) & (numbers < float(limits.max) + 1)))


def _describe_expected(dataset: Dataset) -> str:
    each = f"one of shape (rows, 1) for each of {_list_some(dataset.features)}"
    if not dataset.categorical:
        return f"{each}, or one matrix of numbers (rows, {len(dataset.features)})"
    if not dataset.numeric:
        return f"{each}, or one matrix of texts (rows, {len(dataset.features)})"
    return (
        f"{each}, or a matrix of numbers (rows, {len(dataset.numeric)}) and one of texts "
        f"(rows, {len(dataset.categorical)})"
    )


def _list_some(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
