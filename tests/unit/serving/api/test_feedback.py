from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from ml_code.errors import UncollectedError
from ml_code.monitoring.feedback.events import Event, read_event
from ml_code.monitoring.prediction_log.blocks import make_request_id
from ml_code.segments import SegmentWriter, read_lines
from serving.api.feedback import FeedbackDesk
from serving.api.pages import make_pages
from serving.errors import RequestError
from serving.following.follower import Follower

JSON = {"content-type": "application/json"}


class Disk:
    """Keeps lines in memory; `gate` holds the first sync up, `error` is what each write raises."""

    def __init__(self, error: Exception | None = None) -> None:
        self.written: list[bytes] = []
        self.synced = 0
        self.closed = 0
        self.gate = threading.Event()
        self.gate.set()
        self._error = error

    def write(self, lines: bytes) -> None:
        if self._error:
            raise self._error
        self.written.append(lines)

    def sync(self) -> None:
        self.gate.wait(60)
        self.synced = len(self.written)

    def close(self) -> None:
        self.closed += 1


def send(follower: Follower, desk: FeedbackDesk | None, method: str = "POST", **options: Any) -> httpx.Response:
    pages = make_pages(follower, pool="stable", replica="one", default_model="iris", feedback=desk)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=pages)
        async with httpx.AsyncClient(transport=transport, base_url="http://serving") as client:
            return await client.request(method, "/feedback", **options)

    return asyncio.run(ask())


def read_segments(folder: Path) -> list[Event]:
    return [read_event(line) for path in sorted(folder.glob("*.jsonl")) for line in read_lines(path)[0]]


def test_labels_are_on_the_disk_when_they_are_confirmed(follower: Follower, tmp_path: Path) -> None:
    one, other = make_request_id(), make_request_id()
    labels = [{"request_id": one, "label": 2}, {"request_id": other.upper(), "row": 3, "label": 0}]
    answer = send(follower, FeedbackDesk(SegmentWriter(tmp_path, "one")), json=labels)
    assert (answer.status_code, answer.json()["taken"]) == (202, 2)
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    found = read_segments(tmp_path)
    assert [(event.request_id, event.row, event.label) for event in found] == [(one, 0, 2), (other, 3, 0)]
    assert found[0].event != found[1].event
    assert found[0].token is None


def test_one_label_needs_no_array_and_brings_the_name_of_its_token(follower: Follower, tmp_path: Path) -> None:
    label = {"client_request_id": "order 17", "label": "spam", "observed_at": "2025-11-28T12:00:00Z"}
    desk = FeedbackDesk(SegmentWriter(tmp_path, "one"))
    assert send(follower, desk, json=label, headers={"X-Token-Name": "lab"}).json()["taken"] == 1
    assert [(event.client_request_id, event.label, event.token) for event in read_segments(tmp_path)] == [
        ("order 17", "spam", "lab")
    ]


def test_a_thousand_labels_are_taken_and_one_more_is_refused(follower: Follower) -> None:
    disk = Disk()
    labels = [{"request_id": make_request_id(), "label": 1}] * 1_001
    assert send(follower, FeedbackDesk(disk), json=labels[:1000]).json()["taken"] == 1_000
    refused = send(follower, FeedbackDesk(disk), json=labels)
    assert (refused.status_code, len(disk.written)) == (422, 1)
    assert "1001 labels" in refused.json()["error"]


def test_of_labels_with_one_that_is_not_valid_none_is_kept(follower: Follower) -> None:
    disk = Disk()
    labels = [{"request_id": make_request_id(), "label": 1}, {"request_id": "order 17", "label": 1}]
    refused = send(follower, FeedbackDesk(disk), json=labels)
    assert (refused.status_code, disk.written) == (422, [])
    [problem] = refused.json()["detail"]
    assert (problem["row"], problem["field"]) == (1, "request_id")


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"content": b"[]", "headers": JSON}, 422),
        ({"content": b"", "headers": JSON}, 400),
        ({"content": b"{", "headers": JSON}, 400),
        ({"content": b"1", "headers": JSON}, 422),
        ({"content": b"[]"}, 415),
        ({"content": b"[]", "headers": JSON, "params": {"model": "iris"}}, 422),
        ({"content": b" " * 1_000_001, "headers": JSON}, 413),
        ({"method": "GET"}, 405),
    ],
    ids=["no label", "nothing", "half", "a number", "no type", "a query", "too large", "another method"],
)
def test_a_request_that_is_not_valid_is_refused(follower: Follower, options: dict[str, Any], status: int) -> None:
    disk = Disk()
    refused = send(follower, FeedbackDesk(disk), **options)
    assert (refused.status_code, disk.written) == (status, [])
    assert set(refused.json()) == {"error", "detail", "request_id"}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), UncollectedError("too much waits")])
def test_labels_that_the_disk_refuses_are_not_confirmed(follower: Follower, error: Exception) -> None:
    refused = send(follower, FeedbackDesk(Disk(error)), json={"request_id": make_request_id(), "label": 1})
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
    assert str(error) in refused.json()["error"]


def test_a_replica_without_a_folder_takes_no_labels(follower: Follower) -> None:
    refused = send(follower, None, json={"request_id": make_request_id(), "label": 1})
    assert refused.status_code == 503
    assert "SERVING_PREDICTION_LOG_DIR" in refused.json()["error"]


def test_labels_that_arrive_during_a_write_share_the_next_one() -> None:
    disk = Disk()
    desk = FeedbackDesk(disk)

    async def run() -> None:
        disk.gate.clear()
        first = asyncio.create_task(desk.keep(b"1\n"))
        while not disk.written:
            await asyncio.sleep(0)
        others = [asyncio.create_task(desk.keep(b"%d\n" % number)) for number in (2, 3, 4)]
        await asyncio.sleep(0)
        assert not first.done()
        disk.gate.set()
        await asyncio.gather(first, *others)

    asyncio.run(run())
    assert disk.written == [b"1\n", b"2\n3\n4\n"]
    assert disk.synced == 2


def test_labels_that_wait_for_a_stuck_disk_are_bounded() -> None:
    disk = Disk()
    desk = FeedbackDesk(disk, most_bytes=10)

    async def run() -> None:
        disk.gate.clear()
        writing = asyncio.create_task(desk.keep(b"1234567\n"))
        while not disk.written:
            await asyncio.sleep(0)
        waiting = asyncio.create_task(desk.keep(b"1234567\n"))
        await asyncio.sleep(0)
        with pytest.raises(RequestError, match="wait for the disk"):
            await desk.keep(b"1234567\n")
        disk.gate.set()
        await asyncio.gather(writing, waiting)

    asyncio.run(run())
    assert len(disk.written) == 2


def test_a_segment_ends_in_time_without_further_labels() -> None:
    disk = Disk()
    desk = FeedbackDesk(disk, segment_seconds=0.01)

    async def run() -> None:
        await desk.keep(b"1\n")
        assert disk.closed == 0
        while not disk.closed:
            await asyncio.sleep(0.01)

    asyncio.run(run())


def test_labels_that_come_while_a_replica_ends_are_refused_and_none_hangs() -> None:
    disk = Disk()
    desk = FeedbackDesk(disk, segment_seconds=0.01)

    async def run() -> list[str]:
        disk.gate.clear()
        first = asyncio.create_task(desk.keep(b"1\n"))
        while not disk.written:
            await asyncio.sleep(0)
        second = asyncio.create_task(desk.keep(b"2\n"))
        await asyncio.sleep(0)
        threading.Timer(0.05, disk.gate.set).start()
        desk.close()
        third = asyncio.create_task(desk.keep(b"3\n"))
        found = await asyncio.wait_for(asyncio.gather(first, second, third, return_exceptions=True), 30)
        await asyncio.sleep(0.05)  # the segment's time is over: nothing may be asked of the thread that ended
        return [getattr(one, "message", str(one)) for one in found]

    taken, *refused = asyncio.run(run())
    assert taken == "None"
    assert [text.partition(";")[0] for text in refused] == ["feedback: this replica ends"] * 2
    assert (disk.written, disk.closed) == ([b"1\n"], 1)
