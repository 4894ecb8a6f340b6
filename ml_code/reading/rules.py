"""The `[reading]` of a dataset's TOML file: how its files are written. It applies to every file of the dataset."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from ml_code.cells import MISSING_MARKERS, clean_text
from ml_code.sources import Part

LONGEST_NAME = 200

SEPARATORS = (",", ";", "\t", "|")


def check_column_name(name: str) -> str:
    """Returns the name.

    Raises:
        ValueError: it is not in the form that `clean_text` returns, or is not printable.
    """
    if name != clean_text(name) or not name.isprintable():
        raise ValueError(
            f"found {name[:100]!r}, expected printable text in Unicode's form NFC without surrounding blanks"
        )
    return name


type ColumnName = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME), AfterValidator(check_column_name)]
"""As people call a column: any printable text without surrounding blanks."""


class NumberForm(Part):
    """How people write the numbers of a column. `(500)` is always -500.

    >>> NumberForm(thousands=",", signs=["₩"])  # reads "₩1,500" as 1500
    """

    decimal: Literal[".", ","] = Field(default=".", description="sign before the decimals", examples=[","])
    thousands: Literal["", ",", ".", " ", "'"] = Field(
        default="", description="sign between groups of three digits", examples=[","]
    )
    signs: list[str] = Field(
        default_factory=list, description="currency, percent and unit signs beside the number", examples=[["₩"]]
    )
    missing: list[str] | None = Field(
        default=None,
        description="texts that mean a missing value; among numbers the usual ones do so, too",
        examples=[["?"]],
    )

    @model_validator(mode="after")
    def _signs_differ(self) -> Self:
        if self.decimal == self.thousands:
            raise ValueError(f"decimal, thousands: found {self.decimal!r} for both, expected two signs")
        return self


class Reading(Part):
    """How the files of a dataset are written; the defaults are those of a plain CSV file.

    >>> Reading(separator=";", decimal=",").find_form("price").decimal
    ','
    """

    encoding: str = Field(default="utf-8", description="a name that Python knows", examples=["cp949"])
    separator: Literal[",", ";", "\t", "|"] = Field(default=",", description="sign between cells", examples=[";"])
    line_end: Literal["lf", "cr"] = Field(
        default="lf", description="cr: of old Macintosh programs; CRLF counts as lf", examples=["cr"]
    )
    skip_lines: int = Field(
        default=0, ge=0, le=100, description="lines above the header, such as a title", examples=[2]
    )
    comment: str = Field(default="", max_length=2, description="lines that begin with it are left out", examples=["#"])
    unit_row: bool = Field(default=False, description="whether the line below the header holds units", examples=[True])
    extra_field: Literal["first", "last"] | None = Field(
        default=None,
        description="a field of each row that the header does not name: the row's name, or an empty one",
        examples=["first"],
    )
    skip_empty: bool = Field(
        default=True, description="whether records without any value are left out", examples=[False]
    )
    sheet: str | None = Field(default=None, description="of a workbook; without it its only one", examples=["Sheet1"])
    decimal: Literal[".", ","] = Field(default=".", description="sign before the decimals", examples=[","])
    thousands: Literal["", ",", ".", " ", "'"] = Field(
        default="", description="sign between groups of three digits", examples=["."]
    )
    missing: list[str] | None = Field(
        default=None, description="more texts that mean a missing value in columns of numbers", examples=[["?", "-9"]]
    )
    columns: dict[ColumnName, NumberForm] = Field(
        default_factory=dict, description="where a column differs", examples=[{"price": {"signs": ["₩"]}}]
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        try:
            "".encode(self.encoding)
        except LookupError as error:
            raise ValueError(f"encoding: found {self.encoding!r}, expected utf-8, utf-16, cp949 or cp1252") from error
        if self.decimal == self.thousands:
            raise ValueError(f"decimal, thousands: found {self.decimal!r} for both, expected two signs")
        return self

    def find_form(self, column: str) -> NumberForm:
        """The form of a column's numbers; without signs of its own it has those of the file."""
        own = self.columns.get(column, NumberForm())
        if own.model_fields_set & {"decimal", "thousands"}:
            return own
        return own.model_copy(update={"decimal": self.decimal, "thousands": self.thousands})

    def list_markers(self, column: str, *, is_number: bool) -> frozenset[str]:
        """The texts that mean a missing value in a column."""
        own = self.columns[column].missing if column in self.columns else None
        if own is None and is_number:
            own = self.missing
        usual = MISSING_MARKERS if is_number else frozenset()
        return usual.union(own or [])
