from __future__ import annotations

import importlib.util
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from ml_code.settings import REPOSITORY


@pytest.fixture(scope="module")
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tries", REPOSITORY / "docker/mlflow/tries.py")
    assert spec
    assert spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


class Door:
    """A server where ada's password is `right`; it counts the checks."""

    def __init__(self, module: ModuleType) -> None:
        self.now = 0.0
        self.checks = 0
        self.enter: Callable[[str, str], Any] = module.limit(self.check, {"trainer"}, module.Tries(lambda: self.now))

    def check(self, username: str, password: str) -> str | None:
        self.checks += 1
        return username if password == "right" else None


@pytest.fixture
def door(module: ModuleType) -> Door:
    return Door(module)


def guess(door: Door, times: int, username: str = "ada") -> None:
    for number in range(times):
        assert door.enter(username, f"guess {number}") is None


def test_after_fifteen_wrong_passwords_not_even_the_right_one_is_checked(door: Door) -> None:
    guess(door, 100)
    assert door.enter("ada", "right") is None
    assert door.checks == 15


def test_a_try_comes_back_every_four_seconds(door: Door) -> None:
    guess(door, 15)
    door.now = 4.1
    assert door.enter("ada", "right") == "ada"


def test_made_up_names_do_not_make_the_tries_of_a_user_forgotten(
    door: Door, module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_NAMES", 10)
    guess(door, 15)
    for number in range(50):
        guess(door, 1, f"made-up-{number}")
    assert door.enter("ada", "right") is None
    door.now = 600.0
    assert door.enter("ada", "right") == "ada"


def test_who_has_signed_in_is_not_hindered_by_who_guesses(door: Door) -> None:
    assert door.enter("ada", "right") == "ada"
    guess(door, 100)
    assert door.enter("ada", "right") == "ada"


def test_one_user_is_not_hindered_by_guesses_of_anothers_password_and_a_program_by_none(door: Door) -> None:
    guess(door, 100)
    assert door.enter("bob", "right") == "bob"
    guess(door, 100, "trainer")
    assert door.enter("trainer", "right") == "trainer"


def test_right_passwords_are_no_tries(door: Door) -> None:
    for _ in range(100):
        assert door.enter("ada", "right") == "ada"
    guess(door, 14)
    door.enter("ada", "wrong")
    assert door.checks == 115


def test_names_without_end_take_no_memory_without_end(module: ModuleType) -> None:
    tries = module.Tries(lambda: 0.0)
    for number in range(module.MOST_NAMES + 10):
        assert tries.take(f"name {number}")
    assert len(tries._free_at) == module.MOST_NAMES
