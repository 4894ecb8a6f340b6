"""The task, the labels and the gate that are drafted for a target."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pytest

from ml_code.draft.target import Target, judge_target
from ml_code.errors import DataCheckError


def judge(cells: Sequence[object], task: str | None = None) -> Target:
    return judge_target("y", pd.Series(cells, dtype="str"), task)


@pytest.mark.parametrize(
    ("cells", "task"),
    [
        (["0", "1"] * 50, "classification"),
        (["0.0", "1.0"] * 50, "classification"),
        (["yes", "no"] * 50, "classification"),
        (["1", "2", "3"] * 50, "classification"),
        (["1.5", "2.5"] * 50, "regression"),
        ([str(number) for number in range(11)] * 9, "regression"),
        (["0"] * 90 + ["1"] * 30 + ["2"] * 9 + ["3"] * 4 + ["5"], "regression"),
        ([str(number) for number in range(10)] * 9, "classification"),
        ([str(100_000 + 10_000 * number) for number in range(15)] * 10, "regression"),
        (["450,000", "650,000"] * 50, "regression"),
        (["3,75", "12,5", "7,25"] * 50, "regression"),
        (["1047.5", "NA", "970.25"] * 50, "regression"),
        (["10%", "20%", "30%"] * 50, "regression"),
    ],
)
def test_the_task_follows_the_values_and_a_guess_says_so(cells: list[str], task: str) -> None:
    target = judge(cells)
    assert target.task == task
    if cells[0] != "yes":
        other = {"classification": "regression", "regression": "classification"}[task]
        assert f"guessed as {task}" in target.notes[0]
        assert f"--task {other}" in target.notes[0]


@pytest.mark.parametrize("cells", [["0.0", "1.0"], ["0", "1"], [" 0", "1 "]])
def test_whole_numbers_with_decimal_places_are_the_labels_0_and_1(cells: list[str]) -> None:
    assert judge(cells * 50).labels == [0, 1]


def test_amounts_are_read_as_they_are_written() -> None:
    target = judge(["450,000", "650,000", "1,200,000"] * 30)
    assert target.cells.iloc[2] == 1_200_000
    assert "y: '450,000' is read as 450000." in target.notes


def test_a_missing_label_is_not_a_class() -> None:
    target = judge(["yes", "no", "NA", None, "?"] * 30)
    assert target.labels == ["no", "yes"]
    assert target.form.missing == ["?", "NA"]
    assert "y: 60 cell(s) have no label (?, NA)." in target.notes
    mild = judge(["mild", "none"] * 30)
    assert (mild.labels, mild.notes) == (["mild", "none"], [])
    assert judge(["mild", "None"] * 30).labels == ["None", "mild"]


def test_a_dash_beside_two_words_is_a_missing_label_and_beside_a_plus_a_class() -> None:
    assert judge(["0", "1", "-"] * 30).labels == [0, 1]
    assert judge(["+", "-"] * 30).labels == ["+", "-"]
    assert judge(["Y", "-"] * 30).labels == ["-", "Y"]
    assert any("have the label -9;" in note for note in judge(["0", "1", "-9"] * 30).notes)
    target = judge(["good", "bad", "미상"] * 30)
    assert 'y: 30 row(s) have the label 미상; if that means none, set missing = ["미상"] for it.' in target.notes


@pytest.mark.parametrize("labels", ["+ -", "* ** ***", "AL AK MT NC ND", "+ - weak"])
def test_signs_and_states_beside_their_like_are_not_asked_about(labels: str) -> None:
    assert judge(labels.split() * 30).notes == []
    assert any("have the label ND;" in note for note in judge(["OK", "NG", "ND"] * 30).notes)


def test_a_word_of_the_file_itself_among_amounts_is_a_missing_target() -> None:
    target = judge(["정비중" if number % 5 == 0 else f"{number}.5" for number in range(90)])
    assert (target.task, target.form.missing, int(target.cells.isna().sum())) == ("regression", ["정비중"], 18)
    assert not any("is read as" in note for note in target.notes)


@pytest.mark.parametrize(
    ("cells", "metric", "threshold"),
    [
        (["a", "b"] * 50, "accuracy", 0.5),
        (["a"] * 70 + ["b"] * 30, "accuracy", 0.7),
        (["a"] * 950 + ["b"] * 50, "balanced_accuracy", 0.52),
        (["a"] * 500 + ["b"] * 460 + ["c"] * 40, "balanced_accuracy", 0.36),
    ],
)
def test_the_metric_sees_a_rare_class(cells: list[str], metric: str, threshold: float) -> None:
    target = judge(cells)
    assert (target.metric, target.threshold) == (metric, threshold)


def test_a_class_of_one_row_is_said() -> None:
    assert "y: the class c has one row; bring more rows of it." in judge(["a", "b"] * 30 + ["c"]).notes


@pytest.mark.parametrize(
    ("cells", "task", "message"),
    [
        (["1"] * 50, None, "found '1' in every row of y, expected two classes or more"),
        ([None] * 50, None, "found no value in y"),
        (["a", "b"] * 50, "regression", "found the text 'a' in y, expected numbers for a regression"),
        (["a", "b"] * 50, "regresion", "--task: found 'regresion', expected classification or regression"),
        (
            [f"2026-01-{number % 9 + 10}" for number in range(90)],
            None,
            "found dates or times in y, such as '2026-01-10'",
        ),
        ([f"word {number}" for number in range(50)], None, "found 50 classes in 50 rows of y"),
    ],
)
def test_a_target_that_no_model_can_learn_is_refused(cells: list[str], task: str | None, message: str) -> None:
    with pytest.raises(DataCheckError, match=message):
        judge(cells, task)
