from __future__ import annotations

import hashlib
import io
import tempfile
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_code.data import holdout
from ml_code.data.clean_files import CleanFile
from ml_code.data.holdout import make_holdout_id, split_holdout
from ml_code.data.source import _read_bundled_iris
from ml_code.data.union import write_union
from ml_code.data.validation import check_rows
from ml_code.datasets import Dataset, load_dataset
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


def add_held_out_rows(rows: pd.DataFrame, dataset: Dataset, count: int) -> pd.DataFrame:
    """Rows and some more of the class `lost`, all of which the hash of their ages holds out."""
    held_out = split_holdout(dataset, rows).holdout.dropna().drop_duplicates("age").head(count).assign(outcome="lost")
    assert len(held_out) == count
    return pd.concat([rows, held_out], ignore_index=True)


def test_a_class_that_the_hash_holds_out_whole_is_trained_on(caplog: pytest.LogCaptureFixture) -> None:
    dataset = make_dataset(holdout={"columns": ["age"]})
    split = split_holdout(dataset, add_held_out_rows(typed_rows(), dataset, 1))
    assert (split.train["outcome"] == "lost").sum() == 1
    assert split.unheld_classes == ("lost",)
    assert split.holdout_id == make_holdout_id(dataset)
    assert "every row of the class 'lost' would be held out" in caplog.text
    assert "no row is held out of the class 'lost'" in caplog.text


def test_of_a_class_that_the_hash_holds_out_whole_as_few_rows_as_possible_change_sides() -> None:
    dataset = make_dataset(holdout={"columns": ["age"]})
    rows = add_held_out_rows(typed_rows(), dataset, 3)
    split = split_holdout(dataset, rows)
    [age] = split.train.loc[split.train["outcome"] == "lost", "age"]
    ages = rows.loc[rows["outcome"] == "lost", "age"]
    assert age == max(ages, key=lambda number: holdout._position(f"0{holdout.CELL_SEPARATOR}{number!r}"))
    assert (split.holdout["outcome"] == "lost").sum() == 2
    assert split.unheld_classes == ()
    assert not (split.holdout["age"] == age).any()
    shuffled = split_holdout(dataset, rows.sample(frac=1, random_state=2))
    assert sorted(shuffled.train["age"].dropna()) == sorted(split.train["age"].dropna())


def test_a_class_with_a_row_to_train_on_keeps_the_sides_that_the_hash_chose() -> None:
    dataset = make_dataset(holdout={"columns": ["age"]})
    rows = add_held_out_rows(typed_rows(), dataset, 2)
    trained = split_holdout(dataset, typed_rows()).train.dropna().head(1).assign(outcome="lost")
    split = split_holdout(dataset, pd.concat([rows, trained]))
    assert (split.holdout["outcome"] == "lost").sum() == 2
    assert (split.train["outcome"] == "lost").sum() == 1


def test_a_table_of_one_class_is_refused_without_the_advice_of_another_seed() -> None:
    with pytest.raises(DataCheckError, match="found the one class 'dead' in outcome, expected two or more") as refused:
        split_holdout(make_dataset(), typed_rows().assign(outcome="dead"))
    assert "seed" not in str(refused.value)


def test_a_regression_has_no_unheld_class() -> None:
    rows = check_rows(make_dataset("regression"), make_rows("regression")).good
    assert split_holdout(make_dataset("regression"), rows).unheld_classes == ()


def test_copies_of_a_row_count_each_and_are_split_like_other_rows() -> None:
    rows = typed_rows()
    once, twice = (split_holdout(make_dataset(), frame) for frame in (rows, pd.concat([rows, rows])))
    assert len(twice.train) + len(twice.holdout) == 2 * len(rows)
    first = pd.concat([twice.holdout, once.holdout])
    assert first.duplicated().sum() >= len(once.holdout)  # the first copies stay on their side
    labels = pd.DataFrame(
        {"age": 30.0, "fare": 1.0, "town": "S", "sex": "male", "outcome": ["alive"] * 60 + ["dead"] * 40}
    )
    split = split_holdout(make_dataset(), labels)
    assert set(split.train["outcome"]) == set(split.holdout["outcome"]) == {"alive", "dead"}
    assert 10 <= len(split.holdout) <= 32


def test_the_rows_of_a_group_stay_on_one_side() -> None:
    dataset = make_dataset(group="person", key="number")
    rows = typed_rows().assign(number=[f"n{n}" for n in range(400)], person=[f"p{n % 80}" for n in range(400)])
    split = split_holdout(dataset, rows)
    held_out, trained = set(split.holdout["person"]), set(split.train["person"])
    assert not held_out & trained
    assert 5 <= len(held_out) <= 30
    assert split.holdout_id not in {make_holdout_id(make_dataset(key="number")), make_holdout_id(make_dataset())}


def test_one_person_in_two_spellings_is_one_group() -> None:
    dataset = make_dataset(group="person")
    names = [name for n in range(200) for name in (f"{n}.0 ", f"{n}")]
    split = split_holdout(dataset, typed_rows().assign(person=names))
    held_out, trained = ({float(name) for name in side["person"]} for side in (split.holdout, split.train))
    assert held_out
    assert not held_out & trained


def test_rows_without_a_group_are_split_one_by_one() -> None:
    dataset = make_dataset(group="person")
    rows = typed_rows().assign(person=None)
    alone = split_holdout(make_dataset(), rows)
    pd.testing.assert_frame_equal(split_holdout(dataset, rows).holdout, alone.holdout)


def test_a_group_whose_class_would_lack_training_moves_as_a_whole() -> None:
    dataset = make_dataset(group="person")
    rows = typed_rows().assign(person=[f"p{n % 80}" for n in range(400)])
    person = split_holdout(dataset, rows).holdout["person"].iloc[0]
    rows.loc[rows.index[rows["person"] == person][:2], "outcome"] = "lost"
    split = split_holdout(dataset, rows)
    assert person not in set(split.holdout["person"])
    assert (split.train["person"] == person).sum() == 5


def test_the_holdouts_of_the_shipped_tables_never_change() -> None:
    """Their champions trained on the other rows; iris has a seed that was chosen for its holdout."""
    iris = pd.read_csv(io.BytesIO(_read_bundled_iris()), dtype="str")
    split = split_holdout(load_dataset("iris"), iris)
    assert split.holdout_id == "114da7a581d36f55"
    assert split.holdout["species"].value_counts().to_dict() == {"0": 19, "1": 16, "2": 18}
    cells = sorted(",".join(row) for row in split.holdout.astype("float").astype("str").to_numpy())
    assert hashlib.sha256("\n".join(cells).encode()).hexdigest()[:16] == "b2bcb653ddf49883"
    titanic = pd.DataFrame({"PassengerId": [str(n) for n in range(1, 892)], "Survived": [0, 1, 1] * 297})
    split = split_holdout(load_dataset("titanic"), titanic)
    assert split.holdout_id == "a61f7d87ace7959d"
    numbers = ",".join(split.holdout["PassengerId"])
    assert hashlib.sha256(numbers.encode()).hexdigest()[:16] == "64b8fbb4531b5abc"


@given(cell=st.one_of(st.floats(allow_nan=False), st.integers(-(2**60), 2**60), st.none()))
def test_a_cell_has_one_text_whatever_the_type_of_its_column_is(cell: float | None) -> None:
    column = pd.Series([cell], dtype="float64")
    written = column.astype("object").map(lambda number: None if number != number else repr(number))  # noqa: PLR0124
    texts = [holdout._name_cells(cells) for cells in (column, written.astype("str"))]
    if cell != 0:  # a category "-0.0" is 0
        assert texts[0] == texts[1]


def test_zero_and_minus_zero_do_not_depend_on_which_comes_first() -> None:
    assert holdout._name_cells(pd.Series([0.0, -0.0, None])) == ["0.0", "-0.0", ""]
    assert holdout._name_cells(pd.Series([-0.0, 0.0])) == ["-0.0", "0.0"]


def test_an_empty_side_is_refused() -> None:
    with pytest.raises(DataCheckError, match="expected both above 0"):
        split_holdout(make_dataset("regression"), typed_rows().head(1))


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
        if keyed:
            assert not held_out & now_trained
            assert not trained & now_held_out
        else:  # each copy of a row keeps its side
            assert not held_out - now_held_out
            assert not trained - now_trained
        held_out, trained = held_out | now_held_out, trained | now_trained


def describe_file(number: int) -> CleanFile:
    return CleanFile(f"{number:064d}", f"{number}.csv", None, f"2026-01-0{number + 1}T00:00:00+00:00", 1, 0)


def sides(dataset: Dataset, parts: list[tuple[CleanFile, pd.DataFrame]]) -> tuple[Counter[object], Counter[object]]:
    """What tells rows apart, of the rows held out and of those to train on."""
    with tempfile.TemporaryDirectory() as folder:
        split = split_holdout(dataset, pd.read_parquet(write_union(dataset, parts, Path(folder)).path))
    columns = [dataset.key] if dataset.key else dataset.columns
    held_out, trained = (
        Counter(side[columns].astype("str").itertuples(index=False, name=None)) for side in (split.holdout, split.train)
    )
    assert not (dataset.key and held_out & trained)
    return held_out, trained
