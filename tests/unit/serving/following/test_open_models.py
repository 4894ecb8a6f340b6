"""A bound on the open sessions: what answers is right whichever session is closed, swapped or opened meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import random
import tempfile
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_code.model_file import onnx_model
from serving.errors import RequestError
from serving.following import open_models
from serving.following.follower import Follower
from serving.following.model_files import ModelFiles
from serving.registry.reader import RegisteredModel
from tests.unit.serving.onnx_files import make_classifier

NAMES = ("ash", "elm", "oak", "yew")
FILES = [make_classifier(answer=answer) for answer in range(3)]
ROW = b"[[5.1, 3.5, 1.4, 0.2]]"
SECONDS = 60


class Forest:
    """A registry of some models; the answer of a version follows from its number and its model."""

    def __init__(self) -> None:
        self.versions = dict.fromkeys(NAMES, 1)
        self.challengers: dict[str, int] = {}

    def read_file(self, name: str, version: str) -> bytes:
        mark = f"{name} {version}".encode()
        # An unknown field at the end, so that no two versions have the same digest.
        return FILES[answer_of(name, version)] + b"\x82\x7d" + bytes([len(mark)]) + mark

    async def read_models(self) -> Mapping[str, RegisteredModel]:
        until = datetime.now(UTC) + timedelta(hours=1)
        found = {name: {"champion": str(version)} for name, version in self.versions.items()}
        for name, version in self.challengers.items():
            found[name]["challenger"] = str(version)
        return {name: RegisteredModel(aliases, canary_until=until) for name, aliases in found.items()}

    async def read_digest(self, name: str, version: str) -> str:
        return hashlib.sha256(self.read_file(name, version)).hexdigest()

    async def download(self, name: str, version: str, target: Path, limit_bytes: int) -> str:
        target.write_bytes(self.read_file(name, version))
        return await self.read_digest(name, version)


def answer_of(name: str, version: str) -> int:
    return (NAMES.index(name) + int(version)) % 3


def make_follower(folder: Path, forest: Forest, most_open: int, pool: str = "stable") -> Follower:
    allowed = dict.fromkeys(NAMES, "iris")
    files = ModelFiles(folder, "one")
    return Follower(forest, files, pool=pool, read_allowed=lambda: allowed, limit_bytes=1_000_000, most_open=most_open)


async def ask(follower: Follower, name: str, *, wants_challenger: bool = False) -> str:
    """Asks a model, checks its answer, and returns the version that gave it."""
    served = follower.pick(name, wants_challenger=wants_challenger)
    assert served is not None
    answer = await served.answer(ROW, b"id", with_probabilities=False)
    body = orjson.loads(answer.body)
    assert body["predictions"] == [answer_of(name, body["model"]["version"])]
    return str(body["model"]["version"])


def count_open(follower: Follower) -> int:
    return sum(served.model.is_open for served in follower.slots.values())


def test_only_the_models_asked_last_stay_open(tmp_path: Path) -> None:
    async def run() -> None:
        follower = make_follower(tmp_path, Forest(), most_open=2)
        await follower.step()
        assert count_open(follower) == 2
        for name in ("ash", "elm", "ash", "oak"):
            await ask(follower, name)
            assert count_open(follower) == 2
        assert {name for (name, _), served in follower.slots.items() if served.model.is_open} == {"ash", "oak"}

    asyncio.run(run())


def test_without_a_bound_all_stay_open(tmp_path: Path) -> None:
    async def run() -> None:
        follower = make_follower(tmp_path, Forest(), most_open=0)
        await follower.step()
        assert count_open(follower) == len(NAMES)

    asyncio.run(run())


def test_a_restart_opens_no_more_than_the_bound(tmp_path: Path) -> None:
    async def run() -> None:
        await make_follower(tmp_path, Forest(), most_open=1).step()
        follower = make_follower(tmp_path, Forest(), most_open=1)
        await follower.restore()
        assert (len(follower.slots), count_open(follower)) == (len(NAMES), 1)
        assert [await ask(follower, name) for name in NAMES] == ["1"] * len(NAMES)

    asyncio.run(run())


def test_a_challenger_is_not_closed(tmp_path: Path) -> None:
    async def run() -> None:
        forest = Forest()
        forest.challengers = dict.fromkeys(NAMES, 2)
        follower = make_follower(tmp_path, forest, most_open=1, pool="canary")
        await follower.step()
        assert count_open(follower) == len(NAMES) + 1
        assert [await ask(follower, name, wants_challenger=True) for name in NAMES] == ["2"] * len(NAMES)

    asyncio.run(run())


def test_others_answer_while_a_session_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, may_open = threading.Event(), threading.Event()

    def open_slowly(content: bytes) -> object:
        begun.set()
        assert may_open.wait(SECONDS)
        return onnx_model.open_session(content)

    async def run() -> None:
        follower = make_follower(tmp_path, Forest(), most_open=2)
        await follower.step()
        monkeypatch.setattr(open_models, "open_session", open_slowly)
        closed = next(name for (name, _), served in follower.slots.items() if not served.model.is_open)
        waiting = [asyncio.create_task(ask(follower, closed)) for _ in range(3)]
        assert await asyncio.to_thread(begun.wait, SECONDS)
        still_open = next(name for (name, _), served in follower.slots.items() if served.model.is_open)
        assert await ask(follower, still_open) == "1"
        assert not any(task.done() for task in waiting)
        may_open.set()
        assert await asyncio.gather(*waiting) == ["1"] * 3

    asyncio.run(run())


def test_a_closed_model_whose_file_is_gone_is_fetched_again(tmp_path: Path) -> None:
    async def run() -> None:
        follower = make_follower(tmp_path, Forest(), most_open=1)
        await follower.step()
        for file in (tmp_path / "files").iterdir():
            file.unlink()
        closed = [name for (name, _), served in follower.slots.items() if not served.model.is_open]
        for name in closed:
            with pytest.raises(RequestError, match="found its file gone from the disk") as caught:
                await ask(follower, name)
            assert caught.value.status == 503
        await follower.step()
        assert [await ask(follower, name) for name in NAMES] == ["1"] * len(NAMES)
        assert not follower.failures

    asyncio.run(run())


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), most_open=st.integers(1, 3))
def test_answers_are_right_while_models_are_swapped_and_closed(seed: int, most_open: int) -> None:
    async def run(folder: Path) -> None:
        chance, forest = random.Random(seed), Forest()
        follower = make_follower(folder, forest, most_open)
        await follower.step()

        async def ask_some() -> None:
            for _ in range(15):
                await ask(follower, chance.choice(NAMES))
                # A version that was just opened is one more until the next line of the follower.
                assert count_open(follower) <= most_open + 1

        async def swap_some() -> None:
            for _ in range(4):
                forest.versions[chance.choice(NAMES)] += 1
                await follower.step()

        await asyncio.gather(*(ask_some() for _ in range(4)), swap_some())
        assert count_open(follower) <= most_open
        assert [await ask(follower, name) for name in NAMES] == [str(forest.versions[name]) for name in NAMES]

    with tempfile.TemporaryDirectory() as name:
        asyncio.run(run(Path(name)))
