"""The schema of employees, checked on the text before the warehouse reads it."""

from __future__ import annotations

import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from ml_code.data.validation import show_cell
from ml_code.reading.blocks import BadRow, Block

# COPY converts every text that passes here into the column's type, with any settings of the server.
EXPECTED = {
    "employee_id": "a whole number from 1 to 18 digits without leading zeros",
    "name": "a text of 1 to 200 characters that is not blank",
    "department": "a text of 1 to 100 characters that is not blank",
    "salary": "a number such as 52000 or 52000.50, with at most 10 digits before and 2 after the point",
    "hired_on": "a date between 1900-01-01 and 2199-12-31 such as 2024-02-29",
}


def _match(pattern: str) -> pa.Check:
    return pa.Check(lambda cells: cells.str.fullmatch(pattern))


def _is_text(cells: pd.Series, longest: int) -> pd.Series:
    return cells.str.contains(r"\S") & (cells.str.len() <= longest)


def _is_date(cells: pd.Series) -> pd.Series:
    is_written_well = cells.str.fullmatch("(19|20|21)[0-9]{2}-[0-9]{2}-[0-9]{2}")
    return is_written_well & pd.to_datetime(cells, format="%Y-%m-%d", errors="coerce").notna()


SCHEMA = pa.DataFrameSchema(
    {
        "employee_id": pa.Column("str", _match("[1-9][0-9]{0,17}")),
        "name": pa.Column("str", pa.Check(lambda cells: _is_text(cells, 200))),
        "department": pa.Column("str", pa.Check(lambda cells: _is_text(cells, 100))),
        "salary": pa.Column("str", _match(r"[0-9]{1,10}(\.[0-9]{1,2})?")),
        "hired_on": pa.Column("str", pa.Check(_is_date)),
    }
)


def find_bad_rows(block: Block) -> dict[int, BadRow]:
    """The first fault of each row that breaks the schema, by the row's index in the block."""
    try:
        SCHEMA.validate(block.frame, lazy=True)
    except SchemaErrors as error:
        cases = error.failure_cases
    else:
        return {}
    order = {name: number for number, name in enumerate(block.frame.columns)}
    found = sorted({(int(index), order[column]) for index, column in zip(cases["index"], cases["column"], strict=True)})
    bad: dict[int, BadRow] = {}
    for index, number in found:
        if index not in bad:
            column = str(block.frame.columns[number])
            cell: object = block.frame[column].iat[index]
            reason = f"found {show_cell(cell) if isinstance(cell, str) else 'nothing'}, expected {EXPECTED[column]}"
            bad[index] = BadRow(block.lines[index], column, reason, block.raw[index].decode())
    return bad
