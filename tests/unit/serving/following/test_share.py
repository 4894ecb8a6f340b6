"""The users of the canary pool who get the challenger."""

from __future__ import annotations

import pytest

from serving.following.share import is_in_share
from serving.registry.reader import RegisteredModel, _read_model

USERS = [f"user-{number}".encode() for number in range(20_000)]


def choose(percent: float, version: str = "4", users: list[bytes] = USERS) -> set[bytes]:
    return {user for user in users if is_in_share("iris", version, user, percent)}


@pytest.mark.parametrize("percent", [0, 1, 10, 50, 100])
def test_a_share_holds_as_many_users_as_it_says(percent: float) -> None:
    assert len(choose(percent)) / len(USERS) == pytest.approx(percent / 100, abs=0.01)


def test_a_user_who_has_the_version_keeps_it_as_the_share_grows() -> None:
    assert choose(10) < choose(50) < choose(100)


def test_each_version_meets_other_users_first() -> None:
    both = choose(10) & choose(10, version="5")
    assert len(both) / len(USERS) == pytest.approx(0.01, abs=0.005)


def test_the_share_within_the_users_that_another_hash_has_chosen_is_the_same() -> None:
    """By the same hash, the pool's users would be the first per cents, and all of them would get it."""
    pool = sorted(choose(10, version="the gateway's"))
    assert len(choose(10, users=pool)) / len(pool) == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize(
    ("text", "share"), [(None, 100), ("10", 10), ("100", 100), ("ten", 0), ("-1", 0), ("1e9", 0), ("9999", 0)], ids=str
)
def test_a_tag_that_cannot_be_read_gives_no_user_the_challenger(text: str | None, share: float) -> None:
    tags = [] if text is None else [{"key": "canary_share", "value": text}]
    found: RegisteredModel = _read_model({"aliases": [], "tags": tags})
    assert found.canary_share == share
