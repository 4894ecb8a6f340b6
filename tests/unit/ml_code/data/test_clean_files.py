from __future__ import annotations

import gzip
import re
from pathlib import Path

import pandas as pd
import pytest

from ml_code.data import clean_files, quarantine
from ml_code.data.clean_files import CleanFiles
from ml_code.errors import DataCheckError, SourceError
from ml_code.reading import csv_records
from ml_code.workspace import Workspace
from tests.unit.ml_code.passengers import make_dataset, make_rows


def make_csv(rows: pd.DataFrame) -> bytes:
    return rows.to_csv(index=False).encode()


def read_quarantine(workspace: Workspace) -> pd.DataFrame:
    [report] = Path(workspace.settings.datasets_uri).glob("quarantine/passengers/*.csv")
    return pd.read_csv(report, dtype=str, keep_default_na=False)


@pytest.fixture
def files(workspace: Workspace) -> CleanFiles:
    return CleanFiles(workspace, make_dataset())


def test_an_accepted_file_keeps_every_column_and_its_history(files: CleanFiles) -> None:
    accepted = files.accept(make_csv(make_rows().assign(note="kept")), "june.csv", "tag")
    [name] = files.list_names()
    history, rows = files.read(name)
    assert history == accepted == files.find(name)
    assert (history.origin, history.object_tag, history.rows, history.bad_rows) == ("june.csv", "tag", 400, 0)
    assert rows["note"].eq("kept").all()
    assert rows["age"].dtype == "float64"


def test_bad_rows_are_quarantined_with_line_column_reason_and_raw_text(files: CleanFiles, workspace: Workspace) -> None:
    lines = make_csv(make_rows()).split(b"\n")
    lines[5] = lines[5].replace(b",", b",x", 2)
    lines[9] = b"1,2"
    accepted = files.accept(b"\n".join(lines), "june.csv", "tag")
    report = read_quarantine(workspace)
    assert (accepted.rows, accepted.bad_rows) == (400, 2)
    assert len(files.read(accepted.sha256)[1]) == 398
    assert report["line"].tolist() == ["6", "10"]
    assert report["column"].tolist() == ["fare", ""]
    assert report["raw"].tolist() == [lines[5].decode(), "1,2"]
    assert report["reason"].str.contains("expected a number").tolist() == [True, False]
    assert set(report["file"]) == {"june.csv"}


def test_too_many_bad_rows_keep_nothing_but_the_report(files: CleanFiles, workspace: Workspace) -> None:
    with pytest.raises(DataCheckError, match=r"june\.csv .*quarantine.* found 400 bad rows of 400 \(line 2: fare: "):
        files.accept(make_csv(make_rows().assign(fare="a lot")), "june.csv", "tag")
    assert files.list_names() == []
    assert len(read_quarantine(workspace)) == 400


def test_a_file_with_more_bad_rows_than_a_report_holds_is_refused(
    files: CleanFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "REPORT_ROWS", 2)
    lines = make_csv(make_rows()).split(b"\n")
    content = b"\n".join([*lines, b"1", b"2", b"3"])
    with pytest.raises(DataCheckError, match="found 3 bad rows, which is more than a report holds"):
        files.accept(content, "june.csv", "tag")
    assert files.list_names() == []


def test_a_long_file_of_bad_rows_is_given_up_before_it_fills_the_memory(
    files: CleanFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clean_files, "REPORT_ROWS", 100)
    monkeypatch.setattr(csv_records, "RECORD_BYTES", 1000)
    monkeypatch.setattr(csv_records, "BLOCK_BYTES", 1000)
    with pytest.raises(DataCheckError) as refused:
        files.accept(make_csv(make_rows()) + b"1,2\n" * 100_000, "june.csv", "tag")
    found = re.search(r"found (\d+) bad rows of", str(refused.value))
    assert found
    assert 100 < int(found[1]) < 1000
    assert files.list_names() == []


def test_a_file_that_comes_again_is_the_newest_unless_its_time_is_given(files: CleanFiles) -> None:
    content = make_csv(make_rows())
    first = files.accept(content, "june.csv", "a")
    assert files.accept(content, "june.csv", "a", first.accepted_at) == first
    assert files.accept(content, "july.csv", "b").accepted_at > first.accepted_at


def test_a_state_of_the_source_is_not_found_as_a_file(files: CleanFiles) -> None:
    source = files.accept(make_csv(make_rows()), "source.csv")
    assert source.is_source
    assert files.list_names() == [f"source-{source.sha256}"]
    assert files.find(source.sha256) is None


@pytest.mark.parametrize("row", [b"30,8,S,male,dead\n", b"30,8,S,male,dead,,,\n"], ids=["good", "bad"])
def test_a_packed_file_that_unpacks_to_more_than_the_memory_is_refused(
    files: CleanFiles, monkeypatch: pytest.MonkeyPatch, row: bytes
) -> None:
    monkeypatch.setattr(clean_files, "LARGEST_CSV_MB", 1)
    content = gzip.compress(b"age,fare,town,sex,outcome\n" + row * 100_000)
    assert len(content) < 10_000
    with pytest.raises(DataCheckError, match=r"june\.csv\.gz: found rows of more than 1 MB once unpacked"):
        files.accept(content, "june.csv.gz", "tag")
    assert files.list_names() == []


def test_files_with_a_column_more_or_in_another_order_are_the_same_rows(files: CleanFiles) -> None:
    rows = make_rows()
    turned = rows[rows.columns[::-1]].assign(note="new")
    first, second = (files.accept(make_csv(frame), "june.csv", "tag") for frame in (rows, turned))
    names = list(rows.columns)
    pd.testing.assert_frame_equal(files.read(first.sha256)[1][names], files.read(second.sha256)[1][names])


def test_a_packed_file_is_unpacked(files: CleanFiles) -> None:
    assert files.accept(gzip.compress(make_csv(make_rows())), "june.csv.gz", "tag").rows == 400


@pytest.mark.parametrize(
    "content", [b"", b"age,fare,town,sex,outcome\n", gzip.compress(b"age,fare")[:-9]], ids=["empty", "header", "cut"]
)
def test_a_file_without_rows_is_refused(files: CleanFiles, content: bytes) -> None:
    with pytest.raises(SourceError):
        files.accept(content, "june.csv.gz" if content[:1] == b"\x1f" else "june.csv", "tag")
    assert files.list_names() == []


def test_rows_outside_of_a_drafted_range_are_kept_and_counted(workspace: Workspace) -> None:
    checks = {
        "columns": {"age": {"minimum": 0, "maximum": 40, "reject": False}, "fare": {"minimum": 0, "reject": False}}
    }
    rows = make_rows()
    accepted = CleanFiles(workspace, make_dataset(checks=checks)).accept(make_csv(rows), "june.csv", "tag")
    assert accepted.bad_rows == 0
    assert accepted.outside == {"age": int((rows["age"].astype(float) > 40).sum())}
