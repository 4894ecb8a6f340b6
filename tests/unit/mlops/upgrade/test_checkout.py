from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mlops.errors import EngineError
from mlops.upgrade.checkout import Checkout


def git(folder: Path, *arguments: str) -> None:
    options = ["-c", "user.email=tests@localhost", "-c", "user.name=tests"]
    subprocess.run(["git", *options, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    for text in ("one", "two"):
        (tmp_path / "file").write_text(text)
        git(tmp_path, "add", "--all")
        git(tmp_path, "commit", "--quiet", "--message", text)
        git(tmp_path, "tag", text)
    return tmp_path


def test_the_way_back_leaves_files_that_git_does_not_know(clone: Path) -> None:
    checkout = Checkout(clone)
    (clone / ".env").write_text("mine")
    assert checkout.list_changes() == []
    assert checkout.list_changed_files("one", "two") == [clone / "file"]
    checkout.switch("one")
    assert ((clone / "file").read_text(), (clone / ".env").read_text()) == ("one", "mine")
    assert checkout.describe(checkout.read_commit()) == "one"


def test_a_commit_is_known_by_its_digits(clone: Path) -> None:
    checkout = Checkout(clone)
    assert checkout.resolve("HEAD") == checkout.resolve("two") == checkout.read_commit()
    one = checkout.resolve("HEAD~1")
    assert len(one) == 40
    checkout.switch(one)
    assert checkout.resolve("one") == one
    with pytest.raises(EngineError):
        checkout.resolve("--all")


def test_changed_files_and_unknown_commits_are_found(clone: Path) -> None:
    checkout = Checkout(clone)
    (clone / "file").write_text("mine")
    assert checkout.list_changes() == ["file"]
    assert checkout.has("one")
    assert not checkout.has("f" * 40)


def test_a_folder_outside_of_git_is_told(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="an upgrade needs a clone of the repository"):
        Checkout(tmp_path).read_commit()
