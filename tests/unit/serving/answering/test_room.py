"""The room for large requests: who gets a place, who is refused, and what returns it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from serving.answering.room import Room
from serving.errors import RequestError
from serving.limits import LARGE_THREADS


def test_what_exceeds_the_bytes_is_refused_until_others_leave() -> None:
    room = Room(held_bytes=100)
    room.hold(60)
    with pytest.raises(RequestError, match="found 60 bytes of large requests under way, expected room for 50 more"):
        room.hold(50)
    room.hold(40)
    room.leave(60)
    room.hold(50)
    assert (room.held_bytes, room.requests) == (90, 2)


def test_too_many_large_requests_are_refused_however_small() -> None:
    room = Room(requests=2)
    room.hold(1)
    room.hold(1)
    with pytest.raises(RequestError, match="found 2 large requests under way, expected fewer than 2") as refused:
        room.hold(1)
    assert refused.value.status == 429
    assert (room.held_bytes, room.requests) == (2, 2)


def test_a_response_counts_to_the_same_request() -> None:
    room = Room(held_bytes=100)
    room.hold(60)
    room.hold(30, own_bytes=60)
    assert (room.held_bytes, room.requests) == (90, 1)
    room.hold(10)
    with pytest.raises(RequestError, match="found 90 bytes"):
        room.hold(1, own_bytes=10)
    room.leave(90)
    assert (room.held_bytes, room.requests) == (10, 1)


def test_one_alone_always_has_room() -> None:
    room = Room(held_bytes=100)
    room.hold(60)
    room.hold(500, own_bytes=60)
    assert room.held_bytes == 560


def test_few_are_computed_at_once_and_who_waits_too_long_is_refused() -> None:
    room, end, started = Room(wait_seconds=0.05), threading.Event(), threading.Barrier(LARGE_THREADS + 1)

    def compute() -> str:
        started.wait(60)
        end.wait(60)
        return "done"

    async def crowd() -> list[str]:
        first = [asyncio.create_task(room.compute(compute)) for _ in range(LARGE_THREADS)]
        await asyncio.to_thread(started.wait, 60)
        with pytest.raises(RequestError, match=r"found no turn within 0\.05 s, expected one; send it again"):
            await room.compute(compute)
        end.set()
        done = await asyncio.gather(*first)
        return [*done, await room.compute(lambda: "after")]

    assert asyncio.run(crowd()) == ["done"] * LARGE_THREADS + ["after"]


def test_a_request_out_of_time_returns_its_turn() -> None:
    room, end = Room(wait_seconds=5), threading.Event()

    async def run() -> str:
        slow = [asyncio.create_task(room.compute(end.wait, 60)) for _ in range(LARGE_THREADS)]
        await asyncio.sleep(0.01)
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        end.set()
        return await room.compute(lambda: "after")

    assert asyncio.run(run()) == "after"
