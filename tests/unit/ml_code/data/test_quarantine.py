from __future__ import annotations

import csv
import io

import pytest

from ml_code.data import quarantine
from ml_code.data.quarantine import Quarantine
from ml_code.reading.blocks import BadRow


def test_a_report_has_file_line_column_reason_and_the_raw_text() -> None:
    bad = [
        BadRow(7, "salary", "found 'x', expected a number", '7,"Lee, Jr.",x\nmore'),
        BadRow(9, "", "broken quotes", '"'),
    ]
    report = Quarantine("s3://data/a.csv")
    report.add(bad)
    rows = list(csv.reader(io.StringIO(report.to_csv().decode())))
    assert rows == [
        ["file", "line", "column", "reason", "raw"],
        ["s3://data/a.csv", "7", "salary", "found 'x', expected a number", '7,"Lee, Jr.",x\nmore'],
        ["s3://data/a.csv", "9", "", "broken quotes", '"'],
    ]


def test_a_report_of_nothing_is_its_header() -> None:
    assert Quarantine("a.csv").to_csv() == b"file,line,column,reason,raw\n"


@pytest.mark.parametrize(("limit", "value"), [("REPORT_ROWS", 3), ("REPORT_BYTES", 80)])
def test_a_full_report_counts_on_but_grows_no_more(monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    monkeypatch.setattr(quarantine, limit, value)
    report = Quarantine("a.csv")
    report.add(BadRow(line, "", "broken quotes", '"') for line in range(2, 102))
    assert report.is_full
    assert report.rows == 100
    assert len(report.to_csv().splitlines()) < 6
