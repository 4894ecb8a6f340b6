"""A file that arrives while an earlier one of its name is filed away stays, whenever it arrives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ml_code.moving import Place, move_file, move_object

SOURCE, TARGET = Place("datasets", "incoming/iris/rows.csv"), Place("datasets", "processed/iris/ab12.csv")
LOOKED_AT, ARRIVED = b"looked at", b"arrived meanwhile"


class RefusedError(Exception):
    """What boto3 raises for a refused request."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.response = {"Error": {"Code": code}}


class Exceptions:
    ClientError = RefusedError


@dataclass
class Bucket:
    """A store in memory, in which another writer acts before one of the requests."""

    has_conditions: bool
    interrupted_at: str = ""
    writer: Callable[[Bucket], None] = lambda _: None
    delete_code: str = ""
    objects: dict[Place, bytes] = field(default_factory=lambda: {SOURCE: LOOKED_AT})
    exceptions: Any = Exceptions

    def copy(self, source: dict[str, str], bucket: str, key: str, ExtraArgs: dict[str, str]) -> None:  # noqa: N803
        self._interrupt("copy")
        place = Place(source["Bucket"], source["Key"])
        self._check(place, ExtraArgs["CopySourceIfMatch"], "NoSuchKey")
        self.objects[Place(bucket, key)] = self.objects[place]
        self._interrupt("after copy")

    def head_object(self, Bucket: str, Key: str) -> dict[str, str]:  # noqa: N803
        return {"ETag": name(self.objects[Place(Bucket, Key)])}

    def delete_object(self, Bucket: str, Key: str, IfMatch: str = "") -> None:  # noqa: N803
        place = Place(Bucket, Key)
        if IfMatch:
            self._interrupt("delete")
            if self.delete_code:
                raise RefusedError(self.delete_code)
            self._check(place, IfMatch, "PreconditionFailed")
        self.objects.pop(place, None)

    def is_unchanged(self) -> bool:
        return self.objects.get(SOURCE) == LOOKED_AT

    def _check(self, place: Place, condition: str, gone: str) -> None:
        if place not in self.objects:
            raise RefusedError(gone)
        if self.has_conditions and name(self.objects[place]) != condition:
            raise RefusedError("PreconditionFailed")

    def _interrupt(self, step: str) -> None:
        if step == self.interrupted_at:
            self.writer(self)


def name(content: bytes) -> str:
    return f'"{content.hex()}"'


def move(bucket: Bucket) -> bool:
    return move_object(bucket, SOURCE, TARGET, LOOKED_AT.hex(), bucket.is_unchanged)


def arrive(bucket: Bucket) -> None:
    bucket.objects[SOURCE] = ARRIVED


def vanish(bucket: Bucket) -> None:
    del bucket.objects[SOURCE]


@pytest.mark.parametrize("has_conditions", [True, False])
def test_what_was_looked_at_moves(has_conditions: bool) -> None:
    bucket = Bucket(has_conditions)
    assert move(bucket)
    assert bucket.objects == {TARGET: LOOKED_AT}


@pytest.mark.parametrize("has_conditions", [True, False])
@pytest.mark.parametrize(("step", "is_filed"), [("copy", False), ("after copy", True)])
def test_what_arrives_before_the_deletion_stays(has_conditions: bool, step: str, is_filed: bool) -> None:
    bucket = Bucket(has_conditions, step, arrive)
    assert not move(bucket)
    assert bucket.objects == {SOURCE: ARRIVED} | ({TARGET: LOOKED_AT} if is_filed else {})


def test_what_arrives_at_the_moment_of_the_deletion_stays_where_the_store_has_conditions() -> None:
    bucket = Bucket(has_conditions=True, interrupted_at="delete", writer=arrive)
    assert not move(bucket)
    assert bucket.objects == {SOURCE: ARRIVED, TARGET: LOOKED_AT}


@pytest.mark.parametrize(("step", "is_filed"), [("copy", False), ("after copy", True)])
def test_what_another_run_moves_is_gone(step: str, is_filed: bool) -> None:
    bucket = Bucket(has_conditions=True, interrupted_at=step, writer=vanish)
    assert not move(bucket)
    assert bucket.objects == ({TARGET: LOOKED_AT} if is_filed else {})


def test_a_store_that_refuses_conditional_deletions_is_asked_without() -> None:
    bucket = Bucket(has_conditions=True, delete_code="NotImplemented")
    assert move(bucket)
    assert bucket.objects == {TARGET: LOOKED_AT}


def test_another_refusal_is_an_error_and_loses_nothing() -> None:
    bucket = Bucket(has_conditions=True, delete_code="AccessDenied")
    with pytest.raises(RefusedError, match="AccessDenied"):
        move(bucket)
    assert bucket.objects == {SOURCE: LOOKED_AT, TARGET: LOOKED_AT}


@pytest.mark.parametrize("has_third", [True, False])
def test_a_file_that_replaced_the_one_looked_at_returns(tmp_path: Path, has_third: bool) -> None:
    source, target = tmp_path / "incoming" / "rows.csv", tmp_path / "processed" / "ab12.csv"
    source.parent.mkdir()
    source.write_bytes(ARRIVED)

    def is_unchanged(moved: Path) -> bool:
        if has_third:
            source.write_bytes(b"third")
        return moved.read_bytes() == LOOKED_AT

    assert not move_file(source, target, is_unchanged)
    assert source.read_bytes() == (b"third" if has_third else ARRIVED)
    assert not target.exists()


def test_a_file_moves_or_is_gone(tmp_path: Path) -> None:
    source, target = tmp_path / "rows.csv", tmp_path / "processed" / "ab12.csv"
    source.write_bytes(LOOKED_AT)
    assert move_file(source, target, lambda moved: moved.read_bytes() == LOOKED_AT)
    assert (source.exists(), target.read_bytes()) == (False, LOOKED_AT)
    assert not move_file(source, target, lambda _: True)
