"""Files as people have them become a dataset that intake accepts, or are refused in one sentence that helps."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from ml_code.data.clean_files import CleanFiles
from ml_code.data.validation import read_texts
from ml_code.draft.drafting import Draft, Request, draft_dataset
from ml_code.errors import CatalogError, DataCheckError, MlopsError, SourceError
from ml_code.reading.numbers import read_numbers
from ml_code.reading.rules import NumberForm, Reading
from ml_code.reading.table import open_table
from ml_code.workspace import Workspace
from mlops.batches import read_cell
from mlops.gateway import FeatureKind
from tests.unit.ml_code.draft.people_files import ROWS, plain, write


def title(lines: list[str]) -> list[str]:
    return ["월별 판매 현황,,", *lines]


@pytest.mark.parametrize(
    ("lines", "encoding", "keys"),
    [
        (plain(), "utf-8", {}),
        (plain(), "utf-8-sig", {}),
        (plain("나이,소득,가입"), "cp949", {"encoding": "cp949"}),
        (plain("âge,revenu,payé"), "cp1252", {"encoding": "cp1252"}),
        (plain(), "utf-16", {"encoding": "utf-16"}),
        (plain("age;income;joined", "{0};{1};{2}"), "utf-8", {"separator": ";"}),
        (plain("age\tincome\tjoined", "{0}\t{1}\t{2}"), "utf-8", {"separator": "\t"}),
        (plain("age|income|joined", "{0}|{1}|{2}"), "utf-8", {"separator": "|"}),
        (["sep=,", *plain()], "utf-8", {"skip_lines": 1}),
        (["# exported", "# unit: EUR", *plain()], "utf-8", {"comment": "#"}),
        (title(plain()), "utf-8", {"skip_lines": 1}),
        (plain("age, income, joined", "{0}, {1}, {2}"), "utf-8", {}),
        (plain("age,income,joined", "{0},{1},{2},"), "utf-8", {"extra_field": "last"}),
        (plain("Annual Income (k$),cell.size,label"), "utf-8", {}),
        ([plain()[0], "years,EUR,", *plain()[1:]], "utf-8", {"unit_row": True}),
    ],
)  # fmt: skip
def test_a_file_is_read_as_it_is_written_and_intake_accepts_it(
    tmp_path: Path, workspace: Workspace, lines: list[str], encoding: str, keys: dict[str, object]
) -> None:
    file = write(tmp_path, lines, encoding)
    target = {"가": "가입", "p": "payé"}.get(lines[0].rpartition(",")[2][:1], "joined")
    target = "label" if "label" in lines[0] else target
    draft = draft_dataset(file, Request(target))
    assert draft.dataset.reading.model_dump(exclude_defaults=True) == keys
    assert len(draft.dataset.numeric) == 2
    assert draft.dataset.checks.columns[target].allowed == ["no", "yes"]
    accepted = CleanFiles(workspace, draft.dataset).accept(file.read_bytes(), file.name)
    assert (accepted.rows, accepted.bad_rows) == (120, 0)


@pytest.mark.parametrize(
    ("income", "signs"),
    [
        ("{0},000", "thousands"), ("₩{0},000", "signs"), ("{0}㎡", "signs"), ("({0})", None), ("{0} %", "signs"),
    ],
)  # fmt: skip
def test_amounts_are_numbers_in_the_first_file_and_in_the_next(
    tmp_path: Path, workspace: Workspace, income: str, signs: str | None
) -> None:
    def table(first: int) -> list[str]:
        cells = [(age, income.format(number + first), "yes" if joined else "no") for age, number, joined in ROWS]
        return ["age,income,joined", *(f'{age},"{number}",{joined}' for age, number, joined in cells)]

    draft = draft_dataset(write(tmp_path, table(0)), Request("joined"))
    assert draft.dataset.numeric == ["age", "income"]
    form = draft.dataset.reading.find_form("income")
    assert signs is None or getattr(form, signs)
    following = CleanFiles(workspace, draft.dataset).accept("\n".join(table(500)).encode(), "next.csv", "tag")
    assert following.bad_rows == 0


def test_decimal_commas_are_read_in_a_file_of_semicolons(tmp_path: Path) -> None:
    lines = ["size;price", *(f"{n * 37 % 90},{n % 10};{n * 37 % 90 * 3},5" for n in range(120))]
    draft = draft_dataset(write(tmp_path, lines), Request("price"))
    assert draft.dataset.task == "regression"
    assert draft.preview["price"].tolist()[1] == 111.5
    assert draft.preview["size"].tolist()[1] == 37.1


@pytest.mark.parametrize(
    ("grow", "what"),
    [
        (lambda n: f"{1_790_000_000 + n * 60},{n % 9},{n % 2}", "seconds since 1970"),
        (lambda n: f"{2000 + n},{n % 9},{n % 2}", "order numbers"),
        (lambda n: f"{n},{n % 9 + n},{n % 2}.0", "labels with decimal places"),
    ],
)
def test_the_next_file_of_a_growing_table_is_accepted(
    tmp_path: Path, workspace: Workspace, grow: Callable[[int], str], what: str
) -> None:
    header = "ts,amount,paid"
    first = write(tmp_path, [header, *(grow(n).replace(".0", "") for n in range(150))])
    draft = draft_dataset(first, Request("paid"))
    following = "\n".join([header, *(grow(n) for n in range(5000, 5150))])
    assert CleanFiles(workspace, draft.dataset).accept(following.encode(), "next.csv", "tag").bad_rows == 0, what


BACKSLASHES = ["n,remark,joined", *(f'{n},"say \\"hi\\" {n}",{n % 2}' for n in range(100))]
SHORT = ["a,b,joined,note", "1,2,0,x", *(f"{n},{n},{n % 2}" for n in range(99))]
HALF = ["a,joined", *(f"{n % 7},{n % 4 // 2 if n % 2 else ''}" for n in range(100))]
HEADERLESS = ["0,148,72,33.6,0", *(f"{n},148,72,33.{n},{n % 2}" for n in range(80))]


@pytest.mark.parametrize(
    ("lines", "error", "message"),
    [
        (BACKSLASHES, DataCheckError, r"100 bad rows of 100 \(line 2: broken quotes"),
        (SHORT, DataCheckError, "line 3: too few fields"),
        (HALF, DataCheckError, "joined: found nothing"),
        (["age,income,age,joined", "1,2,3,0"], SourceError, r"found one column name twice \(columns 1 and 3"),
        (HEADERLESS, SourceError, "add a header line above it"),
        (["a,joined", *(f"{n % 7},1" for n in range(80))], DataCheckError, "found '1' in every row of joined"),
    ],
)
def test_a_file_that_training_would_refuse_is_refused_in_a_sentence_that_helps(
    tmp_path: Path, lines: list[str], error: type[MlopsError], message: str
) -> None:
    with pytest.raises(error, match=message) as refused:
        draft_dataset(write(tmp_path, lines), Request("joined"))
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 700


def test_more_rows_without_a_label_are_accepted_if_the_person_says_so(tmp_path: Path) -> None:
    lines = ["a,joined", *(f"{n % 7},{('yes', 'no')[n % 4 // 2] if n % 2 else ''}" for n in range(200))]
    with pytest.raises(DataCheckError, match=r"or accept more of them by --bad-rows, such as --bad-rows 0\.55"):
        draft_dataset(write(tmp_path, lines), Request("joined"))
    draft = draft_dataset(write(tmp_path, lines), Request("joined", bad_rows_share=0.55))
    assert (draft.rows, draft.bad_rows, len(draft.bad)) == (200, 100, 10)
    assert draft.dataset.checks.bad_rows_share == 0.55


def test_a_key_that_is_not_unique_is_refused_with_the_figures(tmp_path: Path) -> None:
    with pytest.raises(DataCheckError, match="--key: found 45 different values of age in 120 rows and 0 missing ones"):
        draft_dataset(write(tmp_path, plain()), Request("joined", key="age"))


def test_lines_of_another_encoding_are_rows_too(tmp_path: Path) -> None:
    """17 of 200 rows have Hangul, and these are the ones of class y."""
    lines = ["member_id,age,region,joined"]
    lines += [f"{n},{20 + n % 40},{'Busan,n' if n % 12 else '서울,y'}" for n in range(200)]
    draft = draft_dataset(write(tmp_path, lines, "cp949"), Request("joined"))
    assert draft.bad_rows == 0
    assert draft.dataset.checks.columns["joined"].allowed == ["n", "y"]
    assert draft.dataset.gate.metric == "balanced_accuracy"


def test_the_preview_has_rows_as_the_model_reads_them(tmp_path: Path) -> None:
    draft: Draft = draft_dataset(write(tmp_path, plain()), Request("joined"))
    assert draft.preview.to_dict("list") == {
        "age": [20.0, 21.0, 22.0, 23.0, 24.0],
        "income": [100.0, 107.0, 114.0, 121.0, 128.0],
        "joined": ["yes", "no", "no", "yes", "no"],
    }


def test_very_long_keys_identify_rows(tmp_path: Path, workspace: Workspace) -> None:
    lines = ["member_id,age,joined", *(f"{'k' * 5000}{n},{20 + n % 45},{n % 2}" for n in range(60))]
    file = write(tmp_path, lines)
    draft = draft_dataset(file, Request("joined"))
    assert draft.dataset.key == "member_id"
    assert CleanFiles(workspace, draft.dataset).accept(file.read_bytes(), file.name).bad_rows == 0
    with pytest.raises(DataCheckError) as refused:
        draft_dataset(write(tmp_path, [*lines, lines[1]]), Request("joined", key="member_id"))
    assert len(str(refused.value)) < 400


def test_a_column_that_is_empty_in_training_may_be_filled_later(tmp_path: Path, workspace: Workspace) -> None:
    file = write(tmp_path, ["age,note,joined", *(f"{20 + n % 45},,{n % 2}" for n in range(60))])
    draft = draft_dataset(file, Request("joined"))
    assert draft.left_out == {"note": "it is empty"}
    following = b"age,note,joined\n30,now filled,1\n31,,0\n"
    assert CleanFiles(workspace, draft.dataset).accept(following, "next.csv", "tag").bad_rows == 0


def test_a_table_of_three_thousand_columns_is_drafted(tmp_path: Path) -> None:
    names = [f"gene {number}" for number in range(3000)]
    rows = [",".join([*(str((n * place) % 17) for place in range(1, 3001)), str(n % 2)]) for n in range(40)]
    draft = draft_dataset(write(tmp_path, [",".join([*names, "ill"]), *rows]), Request("ill"))
    assert len(draft.dataset.numeric) > 2500


def test_points_are_thousands_where_another_column_has_decimal_commas(tmp_path: Path) -> None:
    lines = ["sales;price;kind", *(f"{n % 9 + 1}.{n:03};{n % 9},{n % 90 + 10};{'ab'[n % 2]}" for n in range(100, 220))]
    draft = draft_dataset(write(tmp_path, lines), Request("kind"))
    assert draft.preview["sales"].tolist()[0] == 2100
    assert draft.preview["price"].tolist()[0] == 1.2
    plain = draft_dataset(write(tmp_path, [line.replace(",", ".") for line in lines]), Request("kind"))
    assert plain.preview["sales"].tolist()[0] == 2.1


def test_a_target_whose_first_cell_is_no_number_is_read(tmp_path: Path) -> None:
    lines = ["age;price", "1;unknown", *(f"{n % 40};{n % 9 + 1},{n:03}" for n in range(100, 220))]
    draft = draft_dataset(write(tmp_path, lines), Request("price"))
    assert (draft.dataset.task, draft.bad_rows) == ("regression", 1)
    assert "price: '2,100' is read as" in draft.text


def test_a_file_name_with_a_line_break_does_no_harm(tmp_path: Path) -> None:
    file = write(tmp_path, plain(), name='x\ny = "1".csv')
    assert draft_dataset(file, Request("joined")).dataset.name == "x_y_1"


def test_a_parquet_file_is_read_by_a_dataset_with_decimal_commas() -> None:
    table = io.BytesIO()
    pd.DataFrame({"d": [1.234, 2.5, 17.0], "n": [1, 2, 3]}).to_parquet(table)
    reading = Reading(separator=";", columns={"d": NumberForm(decimal=",", thousands=".")})
    [block] = open_table(io.BytesIO(table.getvalue()), "next.parquet", reading)
    read = read_numbers(block.frame["d"], reading.find_form("d"), frozenset())
    assert read.numbers.tolist() == [1.234, 2.5, 17.0]


@pytest.mark.parametrize("cell", ["9", "9.0", " 9 "])
@pytest.mark.parametrize("marker", ["9", "9.0"])
def test_a_marker_among_texts_is_compared_as_a_category(cell: str, marker: str) -> None:
    reading = Reading(columns={"c": NumberForm(missing=[marker])})
    assert read_texts(pd.Series([cell], dtype="str"), reading.list_markers("c", is_number=False)).isna().all()
    assert read_cell(cell, FeatureKind("c", is_numeric=False), reading) is None


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (plain("age income joined", "{0} {1} {2}"), "found one column, 'age income joined', expected"),
        (plain("age:income:joined", "{0}:{1}:{2}"), "found one column, 'age:income:joined'"),
        (plain('"age,income,joined"', '"{0},{1},{2}"'), "found one column, 'age,income,joined'"),
        (plain("'age','income','joined'", "'{0}','{1}','{2}'"), "found names in single quotes"),
        (['[{"age": 1,', '"joined": 2}]'], "found a JSON document"),
        (['{"age": 1, "joined": 2}'], "found a JSON document"),
        (["@RELATION people", "@data"], "found an ARFF document"),
        (["age,joined", *(f"{n},{('Yes', 'yes', 'no')[n % 3]}" for n in range(90))], "found 'Yes' and 'yes' in joined"),
        (["age,joined", *(f"{n},{('True', '1', '0')[n % 3]}" for n in range(90))], "found '1' and 'True' in joined"),
        (["age,joined", *(f"{n},{('x', '')[n % 2]}" for n in range(90))], "if empty means another class, write"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named_with_a_next_step(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(MlopsError, match=re.escape(message)):
        draft_dataset(write(tmp_path, lines), Request("joined"))


def test_an_invalid_byte_is_the_reason_of_its_row(tmp_path: Path) -> None:
    lines = plain()
    lines[5] = lines[5].replace(",no", ",n\0o").replace(",yes", ",y\0s")
    assert (
        "1 row(s) are left out, because joined: found a NUL byte."
        in draft_dataset(write(tmp_path, lines), Request("joined")).notes
    )


@pytest.mark.parametrize("name", ["My Data", "../x", "한글", "_"])
def test_a_name_of_other_letters_is_refused_in_words(tmp_path: Path, name: str) -> None:
    with pytest.raises(CatalogError, match="expected letters a to z, digits and _, with a letter first"):
        draft_dataset(write(tmp_path, plain()), Request("joined", name=name))


def test_a_folder_is_refused_as_one(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="found a folder, expected a table"):
        draft_dataset(tmp_path, Request("joined"))
