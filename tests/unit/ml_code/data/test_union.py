"""Which rows count, after every order of source change, correction, deletion and return; a plain model is compared."""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_code.data import intake
from ml_code.data.clean_files import CleanFiles
from ml_code.data.snapshots import prepare, read_snapshot
from ml_code.data.union import choose_counting
from ml_code.workspace import open_workspace
from tests.offline_settings import make_offline_settings

TABLE = """
name = "table"
task = "regression"
target = "price"
numeric = ["number"]
source = { kind = "file", path = "source.csv" }
gate = { metric = "r2", threshold = 0.5 }
"""

CONTENTS = {
    "first": {1: 10, 2: 20, 3: 30},
    "later": {1: 10, 2: 25, 5: 50},
    "correction": {2: 21, 3: 30},
    "second correction": {2: 22, 4: 40},
}
"""Prices by number: two states of the source, and two files of people."""

FIRST = ("put", "correction")
THEN = [("source", "later"), ("put", "second correction"), ("delete", "correction"), ("put", "correction")]


class Model:
    """What people expect, of contents by name."""

    def __init__(self, *, is_keyed: bool) -> None:
        self.is_keyed = is_keyed
        self.source = "first"
        self.files: list[str] = []

    @property
    def rows(self) -> Counter[tuple[int, int]]:
        counting = [*([] if self.source in self.files else [self.source]), *self.files]
        if not self.is_keyed:
            return sum((Counter(CONTENTS[name].items()) for name in counting), Counter())
        newest: dict[int, int] = {}
        for name in counting:
            newest |= CONTENTS[name]
        return Counter(newest.items())

    def put(self, name: str) -> str:
        is_there = name in {self.source, *self.files}
        if is_there and not (self.is_keyed and CONTENTS[name].items() - self.rows.keys()):
            return "already loaded"
        self.files = [*(file for file in self.files if file != name), name]
        return "accepted"

    def delete(self, name: str) -> None:
        self.files = [file for file in self.files if file != name]


class Store:
    """The same by the product, in a folder."""

    def __init__(self, folder: Path, *, is_keyed: bool) -> None:
        self.folder = folder
        (folder / "table.toml").write_text(TABLE.replace("numeric", 'key = "number"\nnumeric') if is_keyed else TABLE)
        self.workspace = open_workspace(make_offline_settings(folder / "datasets", catalog_dir=folder))
        if not (folder / "source.csv").exists():
            self.change_source("first")

    def change_source(self, name: str) -> None:
        (self.folder / "source.csv").write_text(write_csv(name))

    def put(self, name: str) -> str:
        key = f"incoming/table/{name}.csv"
        path = self.folder / "datasets" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(write_csv(name))
        [batch] = intake.plan_batches([key])
        report = intake.accept(self.workspace, batch)
        intake.file_away(self.workspace, report)
        return str(report["files"][0]["outcome"])

    def delete(self, name: str) -> None:
        for path in (self.folder / "datasets/clean/table").glob("*.parquet"):
            files = CleanFiles(self.workspace, self.workspace.load_dataset("table"))
            if not path.stem.startswith("source-") and files.read(path.stem)[0].origin.endswith(f"/{name}.csv"):
                path.unlink()

    def read(self) -> tuple[str, Counter[tuple[int, int]]]:
        uri = prepare(self.workspace, "table")
        rows = read_snapshot(self.workspace, uri)[["number", "price"]].astype("int64")
        return uri, Counter(rows.itertuples(index=False, name=None))


def write_csv(name: str) -> str:
    return "\n".join(["number,price", *(f"{number},{price}" for number, price in CONTENTS[name].items()), ""])


class Story:
    """Store and model are compared after every event; the same rows always have the same version."""

    def __init__(self, folder: Path, *, is_keyed: bool) -> None:
        self.is_keyed = is_keyed
        self.folder, self.model = folder, Model(is_keyed=is_keyed)
        self.store = Store(folder, is_keyed=is_keyed)
        self.versions: dict[frozenset[tuple[tuple[int, int], int]], str] = {}
        self.compare(None)

    def compare(self, event: object) -> None:
        uri, rows = self.store.read()
        assert rows == self.model.rows, event
        assert self.versions.setdefault(frozenset(rows.items()), Path(uri).name) == Path(uri).name
        assert len(set(self.versions.values())) == len(self.versions)

    def tell(self, event: tuple[str, str]) -> None:
        kind, name = event
        if kind == "source":
            self.model.source = name
            self.store.change_source(name)
        elif kind == "delete":
            self.model.delete(name)
            self.store.delete(name)
        else:
            assert self.store.put(name) == self.model.put(name), event
        self.compare(event)

    def branch(self) -> Story:
        """The same up to here, in a folder of its own."""
        other = copy.copy(self)
        other.folder = Path(tempfile.mkdtemp(dir=self.folder.parent))
        shutil.copytree(self.folder, other.folder, dirs_exist_ok=True)
        other.model, other.store = copy.deepcopy(self.model), Store(other.folder, is_keyed=self.is_keyed)
        return other

    def follow_every_order(self, events: list[tuple[str, str]]) -> int:
        """Returns the number of orders."""
        orders = 0
        for event in events:
            other = self.branch()
            other.tell(event)
            orders += other.follow_every_order([left for left in events if left is not event])
        return orders or 1


@pytest.mark.parametrize("is_keyed", [True, False], ids=["with a key", "without a key"])
def test_every_order_of_source_change_correction_deletion_and_return(tmp_path: Path, *, is_keyed: bool) -> None:
    (tmp_path / "first").mkdir()
    story = Story(tmp_path / "first", is_keyed=is_keyed)
    story.tell(FIRST)
    assert story.follow_every_order(THEN) == 24


EVENTS = st.one_of(
    st.tuples(st.just("source"), st.sampled_from(["first", "later"])),
    st.tuples(st.sampled_from(["put", "delete"]), st.sampled_from(sorted(CONTENTS))),
)


@given(events=st.lists(EVENTS, min_size=2, max_size=7), is_keyed=st.booleans())
@settings(max_examples=15, deadline=None)
def test_any_events_also_with_the_sources_own_content(events: list[tuple[str, str]], *, is_keyed: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        story = Story(Path(folder), is_keyed=is_keyed)
        for event in events:
            story.tell(event)


def test_a_content_that_is_file_and_source_counts_once() -> None:
    assert choose_counting(["a", "b", "source-a", "source-c"], "a") == ["a", "b"]
    assert choose_counting(["a", "b", "source-a", "source-c"], "c") == ["source-c", "a", "b"]


def test_a_key_is_one_in_every_spelling(tmp_path: Path) -> None:
    store = Store(tmp_path, is_keyed=True)
    text = TABLE.replace('numeric = ["number"]', 'key = "number"\nnumeric = ["size"]')
    (tmp_path / "table.toml").write_text(text)
    (tmp_path / "source.csv").write_text("number,size,price\n1,1,10\n서울,2,20\n")
    content = "number,size,price\n1.0,1,11\n서울,2,21\n".encode()
    CleanFiles(store.workspace, store.workspace.load_dataset("table")).accept(content, "next.csv", "tag")
    assert read_snapshot(store.workspace, prepare(store.workspace, "table"))["price"].tolist() == [11, 21]


def test_a_file_that_no_longer_fits_is_not_already_loaded(tmp_path: Path) -> None:
    store = Store(tmp_path, is_keyed=False)
    assert store.put("correction") == "accepted"
    assert store.put("correction") == "already loaded"
    narrower = "\n[checks]\nbad_rows_share = 0.9\n[checks.columns]\nprice = { maximum = 25 }\n"
    (tmp_path / "table.toml").write_text(TABLE + narrower)
    assert store.put("correction") == "accepted"
    assert store.put("correction") == "already loaded"


def test_a_repeated_step_does_not_make_its_file_newer(tmp_path: Path) -> None:
    store = Store(tmp_path, is_keyed=True)
    uris = {name: tmp_path / f"datasets/incoming/table/{name}.csv" for name in ("correction", "second correction")}
    for name, path in uris.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(write_csv(name))
    [batch] = intake.plan_batches([f"incoming/table/{name}.csv" for name in uris])
    reports = [intake.accept(store.workspace, batch) for _ in range(2)]
    first = intake.accept(store.workspace, {**batch, "keys": batch["keys"][:1]})
    assert reports[0] == reports[1]
    assert first["accepted"] == ["incoming/table/correction.csv"]
    assert store.read()[1][2, 22] == 1
