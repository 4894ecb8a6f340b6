"""Tests of the rules by which the benchmark of public tables calls a result silently wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from ml_code.draft.drafting import Draft, Request, draft_dataset
from tests.benchmarks.tables.loop import find_kept, read_as_client, read_rows
from tests.benchmarks.tables.public_tables import PublicTable, list_tables
from tests.benchmarks.tables.report import Result, summarize, write_report

TABLE = PublicTable("shop", "sales.csv", "sold", "classification", ["price"], [], [])


def make_file(folder: Path) -> Path:
    file = folder / "sales.csv"
    rows = [f'{number % 7}.5,"note {number} of it",{"yes" if number % 3 else "no"}' for number in range(60)]
    file.write_text("\n".join(["price,remark,sold", *rows, "1.5,note 60 of it,", ""]))
    return file


def make_result(folder: Path, *, product: float, rows: int = 60, **changes: object) -> Result:
    draft = draft_dataset(make_file(folder), Request("sold"))
    changed: Mapping[str, object] = {"draft": draft, "metric": "accuracy", "person_columns": ["price"], **changes}
    return Result(TABLE, rows=rows, product=product, person=0.9, **changed)  # type: ignore[arg-type]


def without_reasons(draft: Draft) -> Draft:
    return Draft(draft.text, draft.dataset, {}, draft.rows, draft.bad_rows, draft.bad, [], draft.preview)


def test_a_loss_without_a_line_is_silent(tmp_path: Path) -> None:
    assert make_result(tmp_path, product=0.85).find_silence() == "a worse model"
    assert make_result(tmp_path, product=0.89).find_silence() == ""


def test_a_loss_is_explained_by_a_column_that_is_left_out_with_a_reason(tmp_path: Path) -> None:
    explained = make_result(tmp_path, product=0.5, person_columns=["price", "remark"])
    assert explained.find_silence() == ""
    assert not explained.is_within


def test_a_loss_is_explained_by_a_column_that_is_the_key(tmp_path: Path) -> None:
    result = make_result(tmp_path, product=0.5, person_columns=["price", "id"])
    assert result.find_silence() == "a worse model"
    result.draft = replace(result.draft, dataset=result.draft.dataset.model_copy(update={"key": "id"}))  # type: ignore[type-var, union-attr]
    assert result.find_silence() == ""


def test_lost_rows_are_silent(tmp_path: Path) -> None:
    assert make_result(tmp_path, product=0.9, rows=50).find_silence() == "11 of 61 rows lost"
    assert make_result(tmp_path, product=0.9, rows=55).find_silence() == ""


def test_a_model_that_learns_from_the_names_of_the_rows_is_silently_wrong(tmp_path: Path) -> None:
    result = make_result(tmp_path, product=0.99)
    features = result.draft.dataset.model_copy(update={"numeric": ["column 1", "price"]})  # type: ignore[union-attr]
    result.draft = replace(result.draft, dataset=features)  # type: ignore[type-var]
    assert result.find_silence() == "learns from `column 1`, the row's name"


def test_another_task_is_silent_unless_a_line_says_that_it_is_guessed(tmp_path: Path) -> None:
    draft = draft_dataset(make_file(tmp_path), Request("price"))
    result = Result(TABLE, draft=draft, rows=61)
    assert result.find_silence() == ""
    result.draft = without_reasons(draft)
    assert result.find_silence() == "task regression"


def test_the_summary_counts_what_went_through(tmp_path: Path) -> None:
    good, bad = make_result(tmp_path, product=0.9), make_result(tmp_path, product=0.5)
    refused = Result(TABLE, problem="no column to learn from")
    hopeless = make_result(tmp_path, product=0.5, problem="rejected: too low")
    hopeless.person = 0.5
    assert summarize([good, bad, refused, hopeless]) == (
        "2 of 4 tables go through. The gate rejects 1 others, whose person's pipeline would not pass it either. "
        "1 fall short, 1 are silently wrong, and 2 are at most 0.02 worse than the person's pipeline."
    )


@pytest.mark.parametrize(("person", "is_right"), [(0.73, True), (0.75, False), (0.6, True)])
def test_a_rejection_is_right_where_the_person_does_not_beat_the_constant_either(
    tmp_path: Path, *, person: float, is_right: bool
) -> None:
    reason = "rejected: 0.7326 against 0.7059 of a constant, not better by more than 0.038"
    result = make_result(tmp_path, product=0.7326, problem=reason)
    result.person = person
    assert result.is_rightly_rejected is is_right


def test_rows_that_an_option_accepts_as_bad_are_not_lost(tmp_path: Path) -> None:
    result = make_result(tmp_path, product=0.9, rows=50)
    result.draft = replace(result.draft, bad_rows=11)  # type: ignore[type-var]
    assert result.find_silence() == "11 of 61 rows lost"
    result.table = replace(TABLE, bad_rows=0.3)
    assert result.find_silence() == ""
    assert "`sold`, `--bad-rows 0.3`" in write_report([result])


def test_rows_are_found_again_in_the_file(tmp_path: Path) -> None:
    file = make_file(tmp_path)
    file.write_text(file.read_text().replace("2.5,", ",", 1).replace("yes", "", 1))
    dataset = draft_dataset(file, Request("sold")).dataset
    good, numbers = read_rows(file, dataset)
    frame = pd.read_csv(file)
    assert 1 not in numbers
    assert frame["sold"].iloc[numbers].tolist() == good["sold"].tolist()
    assert read_as_client(file, dataset, 2) == {"price": None}


def test_of_equal_rows_as_many_are_kept_as_the_snapshot_has() -> None:
    rows = pd.DataFrame({"a": [1.0, 2.0, 1.0, 1.0], "b": ["x", None, "x", "x"]})
    snapshot = pd.DataFrame({"a": [2, 1, 1], "b": [None, "x", "x"]})
    assert find_kept(rows, snapshot, ["a", "b"]).tolist() == [True, True, True, False]


def test_every_listed_table_names_its_columns_once() -> None:
    tables = list_tables()
    assert len({table.name for table in tables}) == len(tables) >= 40
    for table in tables:
        named = [*table.numeric, *table.categorical, *table.unused, table.target]
        assert len(set(named)) == len(named), table.name
