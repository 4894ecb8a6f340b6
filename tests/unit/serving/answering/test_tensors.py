from __future__ import annotations

from typing import Any

import pytest

from serving.answering.tensors import DATATYPES, read_tensor
from serving.errors import RequestError

WHOLE = [(f"{sign}INT{bits}", bits, bool(sign)) for bits in (8, 16, 32, 64) for sign in ("", "U")]


def read(datatype: str, *cells: Any) -> list[Any]:
    return read_tensor({"name": "x", "shape": [len(cells)], "datatype": datatype, "data": list(cells)}).cells


@pytest.mark.parametrize(("datatype", "bits", "is_unsigned"), WHOLE)
def test_whole_numbers_keep_to_their_datatype(datatype: str, bits: int, is_unsigned: bool) -> None:
    low, high = (0, 2**bits - 1) if is_unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    assert read(datatype, low, None, high) == [low, None, high]
    for found in (low - 1, high + 1):
        with pytest.raises(RequestError) as caught:
            read(datatype, low, None, found)
        assert caught.value.status == 400
        expected = f"input x, value 2: found {found}, expected {datatype}: {low} to {high}"
        assert caught.value.message == expected


@pytest.mark.parametrize(
    ("datatype", "cell"),
    [("FP16", 65_505), ("FP16", -1e5), ("INT8", 1.5), ("UINT8", True), ("FP32", False), ("FP64", "1"), ("BYTES", 1)],
)
def test_a_value_of_another_datatype_is_named(datatype: str, cell: Any) -> None:
    with pytest.raises(RequestError, match=rf"value 0: found .*, expected {datatype}"):
        read(datatype, cell)


@pytest.mark.parametrize("datatype", DATATYPES)
def test_null_is_a_value_of_every_datatype(datatype: str) -> None:
    assert read(datatype, None, None) == [None, None]
    assert read(datatype) == []


@pytest.mark.parametrize(
    ("shape", "data"),
    [([1, 4], [[1], [1, 1, 1]]), ([2, 2], [[1], [1, 1, 1]]), ([1, 4], [[1, 1], [1, 1]]), ([4], [[1, 1, 1, 1]])],
)
def test_nested_values_have_the_form_of_the_shape(shape: list[int], data: list[list[int]]) -> None:
    with pytest.raises(RequestError, match=r"found \d lists, or one without \d values, expected the shape") as caught:
        read_tensor({"name": "x", "shape": shape, "datatype": "INT8", "data": data})
    assert caught.value.status == 400


@pytest.mark.parametrize(("shape", "data"), [([2, 2], [[1, 2], [3, 4]]), ([4, 1], [[1], [2], [3], [4]])])
def test_nested_values_are_read_in_the_order_of_rows(shape: list[int], data: list[list[int]]) -> None:
    assert read_tensor({"name": "x", "shape": shape, "datatype": "INT8", "data": data}).cells == [1, 2, 3, 4]
