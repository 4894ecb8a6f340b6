"""The columns that the catalog keeps out of the prediction log, from the moment that a person writes it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from serving.following.unlogged import UnloggedColumns


def write(folder: Path, text: str) -> None:
    path = folder / "ships.toml"
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text, encoding="utf-8")
    os.utime(path, ns=(before + 1_000_000, before + 1_000_000))


def test_a_column_is_hidden_and_shown_as_the_file_says_now(tmp_path: Path) -> None:
    columns = UnloggedColumns(tmp_path)
    for text, expected in (
        ('name = "ships"', set()),
        ("[checks.columns]\nport = { log = false }\nsize = { minimum = 0 }", {"port"}),
        ("[checks.columns.size]\nlog = false\n[checks.columns.port]\nlog = true", {"size"}),
        ('[checks.columns]\nport = { log = "no" }', {"port"}),
        ("[checks.columns]", set()),
    ):
        write(tmp_path, text)
        assert columns.find("ships") == expected


def test_the_shipped_datasets_hide_no_column() -> None:
    columns = UnloggedColumns()
    assert [columns.find(name) for name in ("iris", "titanic", "housing")] == [frozenset()] * 3


@pytest.mark.parametrize("text", ["[checks", "checks = 1", "[checks]\ncolumns = 3", "[checks.columns]\nport = 1"])
def test_a_broken_file_says_what_it_said_before_and_hides_all_where_it_never_could_be_read(
    tmp_path: Path, text: str
) -> None:
    columns = UnloggedColumns(tmp_path)
    write(tmp_path, text)
    assert columns.find("ships") is None
    write(tmp_path, "[checks.columns]\nport = { log = false }")
    assert columns.find("ships") == {"port"}
    write(tmp_path, text)
    assert columns.find("ships") == {"port"}


def test_a_file_that_is_gone_says_what_it_said_before(tmp_path: Path) -> None:
    columns = UnloggedColumns(tmp_path)
    assert columns.find("ships") == frozenset()
    write(tmp_path, "[checks.columns]\nport = { log = false }")
    assert columns.find("ships") == {"port"}
    (tmp_path / "ships.toml").unlink()
    assert columns.find("ships") == {"port"}
