"""The header of a table, and the lines around its rows."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from ml_code.data.clean_files import CleanFiles
from ml_code.draft.drafting import Request, draft_dataset
from ml_code.errors import DataCheckError
from ml_code.workspace import Workspace
from tests.unit.ml_code.draft.people_files import plain, write


def kinds(first: int) -> list[str]:
    return [f"{('x', 'z')[n % 2]},{n * 37 % 90},{n * 37 % 7}.5" for n in range(first, first + 60)]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_header_of_an_appended_file_is_an_invalid_row(tmp_path: Path, workspace: Workspace, mark: str) -> None:
    file = write(tmp_path, ["kind,size,price", *kinds(0), f"{mark}kind,size,price", *kinds(60)])
    draft = draft_dataset(file, Request("kind"))
    assert [(row.line, row.reason) for row in draft.bad] == [(62, "found the header again, expected a row")]
    assert draft.dataset.checks.columns["kind"].allowed == ["x", "z"]
    assert draft.dataset.numeric == ["size", "price"]
    assert CleanFiles(workspace, draft.dataset).accept(file.read_bytes(), file.name).bad_rows == 1


@pytest.mark.parametrize("word", ["합계", "Total", " grand total:"])
def test_a_total_in_the_last_line_is_an_invalid_row(tmp_path: Path, workspace: Workspace, word: str) -> None:
    file = write(tmp_path, ["kind,size,price", *kinds(0), *kinds(60), f"{word},5000,480.5"])
    draft = draft_dataset(file, Request("price"))
    assert [(row.line, row.reason) for row in draft.bad] == [(122, "found a total, expected a row")]
    accepted = CleanFiles(workspace, draft.dataset).accept(file.read_bytes(), file.name)
    assert (accepted.rows, accepted.bad_rows) == (121, 1)


def test_a_total_in_the_first_row_is_an_invalid_row(tmp_path: Path) -> None:
    draft = draft_dataset(
        write(tmp_path, ["kind,size,price", "합계,5000,480.5", *kinds(0), *kinds(60)]), Request("price")
    )
    assert [(row.line, row.reason) for row in draft.bad] == [(2, "found a total, expected a row")]
    assert draft.rows == 121


def test_a_total_beside_an_average_is_an_invalid_row(tmp_path: Path) -> None:
    rows = [*kinds(0), *kinds(60)]
    total = sum(int(row.split(",")[1]) for row in rows)
    draft = draft_dataset(write(tmp_path, ["kind,size,price", *rows, f"합계,{total},3.1"]), Request("price"))
    assert [row.line for row in draft.bad] == [122]


def test_two_totals_above_a_note_are_invalid_rows(tmp_path: Path) -> None:
    below = ["합계,5000,480.5", "평균,41,4.5", "※ 자료: 시청,,"]
    draft = draft_dataset(write(tmp_path, ["kind,size,price", *kinds(0), *kinds(60), *below]), Request("price"))
    assert [row.line for row in draft.bad if row.reason == "found a total, expected a row"] == [122, 123]


def test_a_total_that_rows_above_have_as_well_is_a_category(tmp_path: Path) -> None:
    lines = [f"{('good', 'average', 'poor')[n % 3]},{n % 9},{n * 7 % 100 / 2}" for n in range(120)]
    file = write(tmp_path, ["condition,size,price", *lines, "average,4,7.5"])
    draft = draft_dataset(file, Request("price"))
    assert (draft.bad, draft.rows) == ([], 121)


def test_a_note_below_the_table_is_neither_a_class_nor_a_category(tmp_path: Path) -> None:
    lines = [f"{n * 37 % 90},{n % 9},{('yes', 'no')[n % 3 == 0]}" for n in range(120)]
    draft = draft_dataset(write(tmp_path, ["a,b,y", *lines, "Note: figures, of March, 2024"]), Request("y"))
    assert draft.dataset.checks.columns["y"].allowed == ["no", "yes"]
    assert draft.dataset.gate.metric == "accuracy"
    assert draft.dataset.numeric == ["a", "b"]
    assert [row.line for row in draft.bad] == [122]


@pytest.mark.parametrize(
    ("above", "target"),
    [
        ("2023,2023,", "joined"), ("people,,result", "joined"), ("나이,소득,가입", "joined"), (",월별 현황,", "joined"),
        ("2023,2023,", " joined "),
    ],
)  # fmt: skip
def test_the_target_tells_which_line_is_the_header(tmp_path: Path, above: str, target: str) -> None:
    draft = draft_dataset(write(tmp_path, [above, *plain()]), Request(target))
    assert draft.dataset.numeric == ["age", "income"]
    assert draft.dataset.reading.skip_lines == 1


def test_a_header_that_begins_as_a_comment_is_the_header(tmp_path: Path) -> None:
    draft = draft_dataset(write(tmp_path, ["# exported", *plain("# age,income,joined")]), Request("joined"))
    assert draft.dataset.numeric == ["# age", "income"]


def test_a_table_of_the_target_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataCheckError, match=r"found no column to learn from \(only the target"):
        draft_dataset(write(tmp_path, ["joined", *("yes", "no") * 40]), Request("joined"))


def test_a_target_that_is_a_cell_is_not_taken_for_a_header(tmp_path: Path) -> None:
    with pytest.raises(DataCheckError, match="found 'yes', expected one of age, income, joined"):
        draft_dataset(write(tmp_path, plain()), Request("yes"))


def test_a_name_in_another_unicode_form_is_the_same(tmp_path: Path) -> None:
    file = write(tmp_path, plain("나이,소득,가입"))
    assert draft_dataset(file, Request(unicodedata.normalize("NFD", "가입"))).dataset.target == "가입"
