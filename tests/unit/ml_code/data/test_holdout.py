from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_code.data.clean_files import CleanFile
from ml_code.data.holdout import make_holdout_id, split_holdout
from ml_code.data.snapshots import unite
from ml_code.data.validation import check_rows
from ml_code.datasets import Dataset
from ml_code.errors import DataCheckError
from tests.unit.ml_code.passengers import make_dataset, make_rows


def typed_rows(rows: int = 400) -> pd.DataFrame:
    return check_rows(make_dataset(), make_rows(rows=rows)).good


def test_the_holdout_has_about_its_share() -> None:
    split = split_holdout(make_dataset(), typed_rows())
    assert len(split.train) + len(split.holdout) == 400
    assert 60 <= len(split.holdout) <= 100


def test_a_row_stays_on_its_side_as_the_table_grows_and_is_shuffled() -> None:
    rows = typed_rows()
    before = split_holdout(make_dataset(), rows.head(200)).holdout
    after = split_holdout(make_dataset(), rows.sample(frac=1, random_state=1)).train
    assert before.merge(after, how="inner", on=list(rows.columns)).empty


def test_a_cell_counts_as_its_value_in_any_type() -> None:
    whole = typed_rows().assign(age=30.0, fare=range(400))
    as_text = whole.assign(age="30", fare=[f"{fare}.0" for fare in range(400)])
    assert [*split_holdout(make_dataset(), whole).holdout.index] == [
        *split_holdout(make_dataset(), as_text).holdout.index
    ]


def test_the_key_alone_decides_where_there_is_one() -> None:
    dataset = make_dataset(key="number")
    rows = typed_rows().assign(number=[f"n{n}" for n in range(400)])
    changed = rows.assign(fare=1.0)
    assert (
        split_holdout(dataset, rows).holdout["number"].tolist()
        == split_holdout(dataset, changed).holdout["number"].tolist()
    )


@pytest.mark.parametrize("holdout", [{"seed": 1}, {"share": 0.3}, {"columns": ["age"]}])
def test_another_rule_has_another_id(holdout: dict[str, object]) -> None:
    assert make_holdout_id(make_dataset(holdout=holdout)) != make_holdout_id(make_dataset())


def test_a_class_without_a_row_to_train_on_is_refused() -> None:
    dataset = make_dataset(holdout={"columns": ["age"]})
    rows = typed_rows()
    held_out = split_holdout(dataset, rows).holdout.head(1).assign(outcome="lost")
    with pytest.raises(DataCheckError, match="no row to train on of the class lost"):
        split_holdout(dataset, pd.concat([rows, held_out]))


def test_an_empty_side_is_refused() -> None:
    with pytest.raises(DataCheckError, match="expected both above 0"):
        split_holdout(make_dataset(), typed_rows().head(1))


def test_another_seed_holds_out_other_rows() -> None:
    first, second = (split_holdout(make_dataset(holdout={"seed": seed}), typed_rows()).holdout for seed in (0, 1))
    assert not first.equals(second)


def test_a_split_never_changes() -> None:
    """A champion stays comparable only while this code holds out the rows that it did not train on."""
    rows = pd.DataFrame({"age": [float(n) for n in range(20)], "outcome": ["dead", "alive"] * 10})
    split = split_holdout(make_dataset(numeric=["age"], categorical=[]), rows)
    assert split.holdout["age"].tolist() == [3.0]
    assert split.holdout_id == "5a50031e67d01d67"


CELLS = st.fixed_dictionaries(
    {
        "age": st.one_of(st.none(), st.floats(0, 99).map(lambda age: round(age, 1))),
        "fare": st.integers(0, 3).map(float),
        "town": st.sampled_from(["S", "C", None]),
        "sex": st.sampled_from(["male", "female"]),
        "outcome": st.sampled_from(["alive", "dead"]),
    }
)


@given(files=st.lists(st.lists(CELLS, min_size=1, max_size=6), min_size=1, max_size=4), keyed=st.booleans())
@settings(max_examples=30, deadline=None)
def test_no_row_changes_sides_as_files_are_added(files: list[list[dict[str, object]]], keyed: bool) -> None:
    dataset = make_dataset(**({"key": "ticket"} if keyed else {}))
    base = typed_rows(100).assign(ticket=[f"b{number}" for number in range(100)])
    parts = [(describe_file(0), base.astype("str").where(base.notna(), None))]
    held_out, trained = sides(dataset, parts)
    for number, rows in enumerate(files, 1):
        added = pd.DataFrame(rows, columns=list(base.columns)).assign(
            ticket=[f"{number}-{row % 3}" for row in range(len(rows))]
        )
        parts.append((describe_file(number), added.astype("str").where(added.notna(), None)))
        now_held_out, now_trained = sides(dataset, parts)
        assert not held_out & now_trained
        assert not trained & now_held_out
        held_out, trained = held_out | now_held_out, trained | now_trained


def describe_file(number: int) -> CleanFile:
    return CleanFile(f"{number:064d}", f"{number}.csv", None, f"2026-01-0{number + 1}T00:00:00+00:00", 1, 0)


def sides(dataset: Dataset, parts: list[tuple[CleanFile, pd.DataFrame]]) -> tuple[set[object], set[object]]:
    """What tells rows apart, of the rows held out and of those to train on."""
    split = split_holdout(dataset, unite(dataset, parts))
    columns = [dataset.key] if dataset.key else dataset.columns
    held_out, trained = (
        set(side[columns].astype("str").itertuples(index=False, name=None)) for side in (split.holdout, split.train)
    )
    assert not held_out & trained
    return held_out, trained
