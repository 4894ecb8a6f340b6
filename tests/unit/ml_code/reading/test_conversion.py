from __future__ import annotations

import io
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml_code.errors import SourceError
from ml_code.reading import conversion
from ml_code.reading.conversion import convert_apart
from ml_code.reading.rules import Reading
from tests.workbooks import write_workbook, write_xls

TABLE = {"price": [1.5, 2.0], "name": ["김", 'Lee, "Jr."']}


def write_parquet(columns: dict[str, object]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    return buffer.getvalue()


def convert(content: bytes, name: str, **rules: object) -> bytes:
    return convert_apart(io.BytesIO(content), name, Reading.model_validate(rules))


def test_a_table_is_converted_by_the_rules_of_its_dataset() -> None:
    found = convert(write_parquet(TABLE), "sales.parquet", decimal=",")
    assert found.decode() == 'price,name\n"1,5",김\n2,"Lee, ""Jr."""\n'


def test_what_is_refused_is_refused_by_its_own_message() -> None:
    book = write_workbook({"A": [["id"], [1]], "B": [["id"], [2]]})
    with pytest.raises(SourceError, match=r"file two.xlsx: found the sheets 'A', 'B', expected one; name one by"):
        convert(book, "two.xlsx")
    assert convert(book, "two.xlsx", sheet="B") == b"id\n2\n"


def write_repeated_text() -> bytes:
    """Less than a kilobyte for 10,000 rows of one text of 10 MB."""
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 10_000, pa.int32()), ["x" * 10_000_000])
    return write_parquet({"text": column})


def write_far_cell() -> bytes:
    """The last cell that the older form of a workbook knows."""
    return write_xls([[1.0], *([[]] * 65534), [*([None] * 65535), 1.0]])


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("write", "name"), [(write_repeated_text, "text.parquet"), (write_far_cell, "far.xls")])
def test_a_small_file_that_unpacks_beyond_the_memory_ends_its_own_process_alone(
    write: Callable[[], bytes], name: str
) -> None:
    content = write()
    assert len(content) < 20_000
    with pytest.raises(SourceError, match=rf"file {name}: found a file that needs too much memory, .* as CSV UTF-8"):
        convert(content, name)


def test_a_file_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "LONGEST_SECONDS", 0.01)
    with pytest.raises(SourceError, match=r"file slow.parquet: found a file that was not read after 0 s"):
        convert(write_parquet(TABLE), "slow.parquet")
