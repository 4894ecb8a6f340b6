"""The version of a dataset is its content, whatever files, order and types of storage it came by."""

from __future__ import annotations

import io

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_code.data.validation import check_rows
from ml_code.data.versions import VersionDigest, digest_rows
from ml_code.datasets import Dataset
from tests.unit.ml_code.passengers import make_dataset, make_rows


def make_version(dataset: Dataset, rows: pd.DataFrame) -> str:
    """The version of rows that come in blocks of 70."""
    digest = VersionDigest(dataset, rows.dtypes)
    for start in range(0, len(rows), 70):
        digest.add(rows.iloc[start : start + 70])
    return digest.finish()


def typed_rows(rows: int = 50) -> pd.DataFrame:
    return check_rows(make_dataset(), make_rows(rows=rows)).good


def test_a_version_never_changes() -> None:
    """Runs and model versions name their rows by it; another release of pandas or Arrow must find the same."""
    rows = pd.DataFrame(
        {
            "age": [1.5, None, -0.0],
            "fare": [1.0, 2.0, 3.0],
            "town": ["S", None, "서울"],
            "sex": "male",
            "outcome": [0, 1, 1],
        }
    )
    assert make_version(make_dataset(), rows) == "aca4ecebb35f4c47"
    assert [digest.hex() for digest in digest_rows(rows[["age", "town", "outcome"]])] == [
        "1df66d3efe4cc561fee530d3077c076a",
        "26b8bcdf59866dee59d7590a141de45c",
        "c941042a01507d9ee7b8f2e507d48c16",
    ]


def test_the_order_of_rows_and_columns_does_not_count() -> None:
    rows = typed_rows()
    turned = rows.sample(frac=1, random_state=1)[rows.columns[::-1]]
    assert make_version(make_dataset(), rows) == make_version(make_dataset(), turned)


def test_the_way_of_storing_does_not_count() -> None:
    rows = typed_rows()
    buffer = io.BytesIO()
    rows.to_parquet(buffer, index=False, compression="zstd", row_group_size=7)
    stored = pd.read_parquet(buffer)
    plain = rows.astype({"town": "object", "sex": "category"})
    versions = {make_version(make_dataset(), frame) for frame in (rows, stored, plain)}
    assert len(versions) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows.head(-1),
        lambda rows: pd.concat([rows, rows.head(1)]),
        lambda rows: rows.assign(fare=rows["fare"] + 1e-9),
        lambda rows: rows.assign(town=rows["town"].fillna("")),
        lambda rows: rows.assign(note="new"),
        lambda rows: rows.assign(town=rows["sex"], sex=rows["town"]),
        lambda rows: rows.rename(columns={"town": "sex", "sex": "town"}),
    ],
    ids=["a row less", "a row twice", "a number", "missing or empty", "a column more", "swapped", "renamed"],
)
def test_other_rows_are_another_version(change: object) -> None:
    assert callable(change)
    assert make_version(make_dataset(), change(typed_rows())) != make_version(make_dataset(), typed_rows())


@pytest.mark.parametrize("change", [{"key": "town"}, {"group": "town"}, {"categorical": ["sex"]}])
def test_other_roles_of_the_columns_are_another_version(change: dict[str, object]) -> None:
    assert make_version(make_dataset(**change), typed_rows()) != make_version(make_dataset(), typed_rows())


@pytest.mark.parametrize("change", [{"checks": {"bad_rows_share": 0.2}}, {"holdout": {"seed": 3}}])
def test_rules_that_change_no_row_keep_the_version(change: dict[str, object]) -> None:
    assert make_version(make_dataset(**change), typed_rows()) == make_version(make_dataset(), typed_rows())


def test_a_long_table_has_the_digests_of_its_rows_one_by_one() -> None:
    rows = pd.DataFrame({"number": [float(n) for n in range(70_000)], "text": [f"t{n % 7}" for n in range(70_000)]})
    digests = digest_rows(rows)
    assert len(set(digests)) == 70_000
    for number in (0, 65_535, 65_536, 69_999):
        assert digest_rows(rows.iloc[[number]]) == [digests[number]]


CELLS = st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=4))


@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=2, max_size=2, unique=True))
@settings(max_examples=100, deadline=None)
def test_different_texts_have_different_digests(rows: list[tuple[str | None, str | None]]) -> None:
    """Also where the texts of a row give the same text in one."""
    first, second = digest_rows(pd.DataFrame(rows, columns=["a", "b"], dtype="str"))
    assert first != second
