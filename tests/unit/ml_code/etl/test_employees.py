from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from ml_code.errors import DataCheckError, SettingsError, StorageError
from ml_code.etl.employee_schema import EXPECTED, find_bad_rows
from ml_code.etl.employees import SAMPLE, find_file, load_employees
from ml_code.reading.blocks import Block
from ml_code.reading.csv_records import CsvRecords
from ml_code.workspace import Workspace

GOOD = {"employee_id": "7", "name": "김민서", "department": "R&D", "salary": "52000.50", "hired_on": "2024-02-29"}


def make_block(**cells: str) -> Block:
    text = io.StringIO()
    rows = [GOOD, GOOD | cells, GOOD]
    csv.DictWriter(text, list(EXPECTED)).writeheader()
    csv.DictWriter(text, list(EXPECTED)).writerows(rows)
    (block,) = CsvRecords(io.BytesIO(text.getvalue().encode()), "employees.csv")
    return block


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("employee_id", "1"),
        ("employee_id", "9" * 18),
        ("name", "x" * 200),
        ("name", "Lee,\n\"Jr.\""),
        ("salary", "0"),
        ("salary", "9999999999.99"),
        ("salary", "52000.5"),
        ("hired_on", "2199-12-31"),
    ],
)  # fmt: skip
def test_a_good_cell_passes(column: str, cell: str) -> None:
    assert find_bad_rows(make_block(**{column: cell})) == {}


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        *[
            ("employee_id", cell)
            for cell in ("", "x", "1.0", "-1", "0", "007", " 7", "7\n", "9" * 19, "1e3", "\N{ARABIC-INDIC DIGIT SEVEN}")
        ],
        *[("name", cell) for cell in ("", "  ", "\n", "x" * 201)],
        *[("department", cell) for cell in ("", " ", "x" * 101)],
        *[
            ("salary", cell)
            for cell in ("", "x", "NaN", "inf", "-1", "1e5", "1,000", "1.234", "10000000000", "1.", ".5")
        ],
        *[("hired_on", cell) for cell in ("", "x", "2023-02-29", "2024-13-01", "24-01-01", "2024-1-1", "infinity")],
        *[("hired_on", cell) for cell in ("0000-01-01", "2024-01-01 BC", "2024/01/01", "2024-01-01T00:00", "today")],
    ],
)
def test_a_bad_cell_is_named_with_the_expected_value(column: str, cell: str) -> None:
    block = make_block(**{column: cell})
    (index, bad), *others = find_bad_rows(block).items()
    assert others == []
    assert index == 1
    found = repr(cell) if len(cell) < 199 else f"{repr(cell)[:200]}... ({len(cell) + 2} characters)"
    found = found if cell else "nothing"
    assert (bad.line, bad.column, bad.reason) == (block.lines[1], column, f"found {found}, expected {EXPECTED[column]}")
    assert bad.raw == block.raw[1].decode()


def test_a_row_with_several_bad_cells_is_one_bad_row_named_by_the_first() -> None:
    (bad,) = find_bad_rows(make_block(name="", salary="x", hired_on="y")).values()
    assert bad.column == "name"


def test_the_sample_that_ships_is_good(workspace: Workspace) -> None:
    file = find_file(workspace, "")
    assert file.uri == str(SAMPLE)
    with SAMPLE.open("rb") as stream:
        blocks = list(CsvRecords(stream, file.uri))
    assert [find_bad_rows(block) for block in blocks] == [{}]
    assert blocks[0].bad == []
    assert blocks[0].frame["employee_id"].nunique() == len(blocks[0].frame) == 200


@pytest.mark.parametrize(
    "header", ["employee_id,name,department,salary", "employee_id,name,department,salary,hired_on,x"]
)
def test_a_file_with_other_columns_is_refused(workspace: Workspace, tmp_path: Path, header: str) -> None:
    file = tmp_path / "employees.csv"
    file.write_text(f"{header}\n")
    with pytest.raises(
        DataCheckError, match=r"found the columns employee_id, .* expected employee_id, .* in any order"
    ):
        find_file(workspace, str(file))


def test_a_file_that_is_not_there_is_named(workspace: Workspace) -> None:
    with pytest.raises(StorageError, match=r"nowhere\.csv"):
        find_file(workspace, "/nowhere.csv")


def test_without_a_warehouse_the_missing_setting_is_named(workspace: Workspace) -> None:
    with pytest.raises(SettingsError, match="MLOPS_WAREHOUSE_DSN"):
        load_employees(workspace, str(SAMPLE))
