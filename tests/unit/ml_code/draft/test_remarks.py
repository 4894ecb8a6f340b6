"""What a person should look at is said of each column."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ml_code.draft.columns import judge_column
from ml_code.draft.drafting import Request, draft_dataset
from ml_code.draft.remarks import LEAST_GROUPS, describe_missing_code, find_spellings
from ml_code.gate.evidence import LEAST_ROWS


@pytest.mark.parametrize(
    ("numbers", "code"),
    [
        ([*range(50), -999, -999], -999),
        ([1, 2, 3, 4, 5, 99, 99], 99),
        ([1.5, 2.5, 9.5, -9999, -9999], -9999),
        ([1.5, 2.5, 9.5, -99.9, -99.9], -99.9),
        ([1000, 1100, 1200, -200, -200], -200),
        ([*range(50), -9999999, -9999999], -9999999),
        ([1, 2, 3, 4, -1, -1], None),  # a floor below the ground
        ([*range(100)], None),  # 99 is one of the others
        ([-100, -50, -99, -99, 0], None),
        ([1, 2, 3, 99], None),  # once may be a value
        ([0, 0, 0, 999, 999], None),  # two numbers may be two kinds
    ],
)
def test_a_number_far_from_the_others_may_mean_missing(numbers: list[float], code: float | None) -> None:
    notes = describe_missing_code("b", pd.Series(numbers, dtype="float64"))
    assert [f'set missing = ["{code}"] for it.' in note for note in notes] == ([] if code is None else [True])


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["Yes", "yes", "no"], [["Yes", "yes"]]),
        (["New York", "New  York", "New\xa0York"], [["New York", "New  York", "New\xa0York"]]),
        (["A", "\uff21", "B"], [["A", "\uff21"]]),
        (["A", "A\xad"], [["A", "A\xad"]]),
        (["True", "0", "1", "False"], [["1", "True"], ["0", "False"]]),
        (["True", "False"], []),
        (["1", "0"], []),
        (["a", "b"], []),
    ],
)
def test_spellings_of_one_word_are_found(texts: list[str], found: list[list[str]]) -> None:
    assert sorted(find_spellings(pd.Series(texts))) == sorted(found)


@pytest.mark.parametrize(("groups", "notes"), [(22, 1), (120, 0)])
def test_too_few_groups_for_the_gate_are_said(tmp_path: Path, groups: int, notes: int) -> None:
    path = tmp_path / "trips.csv"
    rows = [f"{number % groups},{number % 7},{'ab'[number % 3 % 2]}" for number in range(groups * 6)]
    path.write_text("\n".join(["driver,speed,grade", *rows]))
    draft = draft_dataset(path, Request("grade"))
    assert draft.dataset.group == "driver"
    found = [note for note in draft.notes if note.startswith("driver: ")]
    assert len(found) == notes
    assert all("of 22 groups are held out, and the gate needs 10, so each version waits" in note for note in found)
    assert LEAST_GROUPS == LEAST_ROWS


def test_a_category_of_several_spellings_is_named() -> None:
    [note] = judge_column("city", pd.Series(["Seoul", "SEOUL", "Busan"] * 40)).notes
    assert note.startswith("city: 'Seoul', 'SEOUL' count as different values, though they differ only in case")
