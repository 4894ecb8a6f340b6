"""Columns that give the target away are left out, or named."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ml_code.draft.leakage import find_copies, find_deciders, find_sums


def test_a_column_that_repeats_the_target_gives_it_away() -> None:
    labels = pd.Series(["yes", "no", "no"] * 20)
    copies = find_copies(labels, {"code": labels.map({"yes": 1.0, "no": 0.0}), "x": pd.Series(np.arange(60.0))})
    assert copies == {
        "code": "it gives the target away: each value stands for one class, in 100% of the rows with a target"
    }
    price = pd.Series(np.arange(60) ** 1.5)
    assert list(find_copies(price, {"again": price.copy(), "dollars": price * 1.1})) == ["again"]
    [said] = find_deciders(price, {"dollars": price * 1.1})
    assert said.startswith("dollars: the target is this column times a constant")


def test_small_numbers_that_differ_are_not_the_target() -> None:
    price = pd.Series(np.arange(60) ** 1.5 * 1e-11)
    assert find_copies(price, {"noise": pd.Series(np.arange(60.0)[::-1] * 1e-11)}) == {}


def test_one_threshold_that_separates_the_classes_is_said() -> None:
    labels = pd.Series(["no"] * 30 + ["yes"] * 30)
    [said] = find_deciders(labels, {"score": pd.Series(np.arange(60.0)), "x": pd.Series(np.arange(60.0) % 7)})
    assert said.startswith("score: one threshold tells the two classes apart")
    by_class = pd.Series(["no"] * 1200 + ["yes"] * 30)
    [said] = find_deciders(by_class, {"score": pd.Series(np.arange(1230.0))})
    assert said.startswith("score: one threshold tells the two classes apart")


def test_thresholds_between_several_classes_are_said() -> None:
    grades = pd.Series([("A", "B", "C")[number // 20] for number in range(60)])
    [said] = find_deciders(grades, {"points": pd.Series(np.arange(60.0)), "x": pd.Series(np.arange(60.0) % 7)})
    assert said.startswith("points: thresholds tell the classes apart")


def test_a_rounded_or_bent_copy_of_an_amount_is_said() -> None:
    price = pd.Series(100_000.0 + np.arange(60) * 37_003 % 977_000)
    said = [*find_deciders(price, {"dollars": (price / 1300).round(2), "log": np.log(price), "x": price % 7})]
    assert [note.partition(":")[0] for note in said] == ["dollars", "log"]
    assert "it puts the rows into the order of the target" in said[1]


def test_columns_that_add_up_to_the_target_are_said() -> None:
    guests, members = pd.Series(np.arange(90.0) * 7 % 31), pd.Series(np.arange(90.0) * 3 % 53)
    [said] = find_sums(guests + members, {"guests": guests, "members": members, "x": guests % 5})
    assert said.startswith("guests, members: together they add up to the target")
    assert not [*find_sums(guests + members + guests * members % 3, {"guests": guests, "members": members})]
    x = (guests % 5).where(guests > 0, np.inf)
    assert len([*find_sums(guests + members, {"guests": guests, "members": members, "x": x})]) == 1


BY_GAP = "it has a value in the rows of some classes, and in no other row"
BY_VALUE = "each of its values is of one class only"

CHURNED = pd.Series([number % 3 == 0 for number in range(120)]).map({True: "1", False: "0"})


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (CHURNED.map({"1": 5.0}), "it has a value in the rows of some classes, and in no other row"),
        (CHURNED.map({"1": "moved"}), "it has a value in the rows of some classes, and in no other row"),
        (
            pd.Series([("left", "stays", "stays on")[n % 3] for n in range(120)]),
            "each of its values is of one class only",
        ),
        (pd.Series([(1.0, 0.0, 3.0)[n % 3] for n in range(120)]), "each of its values is of one class only"),
    ],
)
def test_a_column_that_alone_tells_the_class_is_named(cells: pd.Series, words: str) -> None:
    [note] = find_deciders(CHURNED, {"reason": cells})
    assert note == f"reason: {words}; if it is known only afterwards, take it out."
    assert not [*find_deciders(CHURNED, {"reason": cells.sample(frac=1, random_state=1).reset_index(drop=True)})]
